"""The address that a server listens on."""

import errno
import socket

from edge.exits import CommandFailed, ExitCode

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A socket that owns the address, before anything slow is done. Raises CommandFailed."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CommandFailed(f"cannot listen on {where}: {error.strerror}", ExitCode.ADDRESS) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _watch_for_dead_machines(listener)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        hint = {
            errno.EADDRINUSE: "stop what uses it, or give another --port",
            errno.EACCES: "give a --port from 1024 on",
            errno.EADDRNOTAVAIL: "this machine does not have that address: give another --host",
        }.get(error.errno or 0, "")
        raise CommandFailed(f"cannot listen on {where}: {error.strerror}", ExitCode.ADDRESS, hint) from error
    return listener


def _watch_for_dead_machines(listener: socket.socket) -> None:
    """What is accepted inherits it: the system itself asks a silent machine whether it is still there. A
    worker of 2022 that works neither says nor hears anything else."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
