"""Whom the server trusts when it calls others by https."""

import ssl
from functools import cache

import httpx


@cache
def client_context() -> ssl.SSLContext:
    """One for all connections of a process: to read the certificates takes 20 ms."""
    return httpx.create_ssl_context()
