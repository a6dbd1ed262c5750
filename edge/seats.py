"""How many connections may be open at once: in all, and from one address."""

import logging
import resource

from coordinator.protocol.limits import DoorLimits
from edge.client_address import ClientAddresses, counted_as
from edge.errors import Problem

log = logging.getLogger(__name__)

RETRY_S = 5.0
OWN_FILES = 1024
"""Open files that are not connections of clients: databases, stored files, webhooks."""


class Seats:
    """Counts connections. Proxies of ours bring those of many, so no limit of one address holds for them."""

    def __init__(self, limits: DoorLimits, clients: ClientAddresses, most: int | None = None) -> None:
        """``most`` is what the system lets us have; fewer connections than that are let in."""
        self._total = limits.connections if most is None else min(limits.connections, most)
        self._each = limits.address_connections
        self._clients = clients
        self._taken = 0
        self._by_address: dict[str, int] = {}

    def __len__(self) -> int:
        return self._taken

    def take(self, address: str) -> str:
        """Let a connection in; give what it gets back with ``leave``. Raises Problem."""
        if self._taken >= self._total:
            detail = f"The server has as many connections as it may ({self._total}, connections)."
            raise Problem("connections_full", detail, retry_after_s=RETRY_S)
        key = "" if self._clients.trusts(address) else counted_as(address)
        if key and self._each:
            count = self._by_address.get(key, 0)
            if count >= self._each:
                detail = (
                    f"Your address has as many connections as it may ({self._each}, address_connections)."
                )
                raise Problem("throttled", detail, retry_after_s=RETRY_S)
            self._by_address[key] = count + 1
        self._taken += 1
        return key

    def leave(self, key: str) -> None:
        self._taken -= 1
        if key and self._each:
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]


def most_connections(wanted: int) -> int:
    """Let this process open as many files as it may, and say how many connections that leaves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError):  # macOS says "unlimited" and does not mean it
            log.debug("the limit of open files stays at %d", soft)
    if soft == resource.RLIM_INFINITY:
        return wanted
    most = max(soft - OWN_FILES, soft // 4)
    if most < wanted:
        log.warning(
            "the system allows %d open files: %d connections are let in at once, not %d (--connections)",
            soft,
            most,
            wanted,
        )
    return most
