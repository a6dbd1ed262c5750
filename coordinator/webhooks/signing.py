"""Signatures of webhooks, as Standard Webhooks (and Svix, and so Replicate) define them. Pure."""

import base64
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "whsec_"
KEY_BYTES = 32


def make_secret() -> str:
    """A new secret: standard base64 with padding, for the clients take no other."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def headers(keys: Iterable[str], message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers; one signature for each secret, so that an old one is good while it is exchanged."""
    signed = b"%s.%d.%s" % (message.encode(), timestamp, body)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, signed) for key in keys),
    }


def _signature(key: str, signed: bytes) -> str:
    secret = base64.b64decode(key.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
