"""Which machine a request comes from: who connected, or whom a trusted proxy names in ``X-Forwarded-For``."""

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

UNKNOWN = "unknown"
_IPV6_PREFIX = 64
"""What one customer of a provider has: to count single addresses of it would be no limit."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientAddresses:
    """``trusted`` are networks of our own proxies, as ``10.0.0.0/8``. Raises ValueError for a wrong one."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._look)

    def of(self, scope: Mapping[str, Any]) -> str:
        """The address, for limits and logs; ``unknown`` when there is none, as on a Unix socket.

        Proxies append to ``X-Forwarded-For``: what stands right of the first untrusted address, read from
        the right, was said by a proxy of ours; what stands left of it is anybody's word.
        """
        client = scope.get("client")
        address = str(client[0]) if client else UNKNOWN
        if not self._is_trusted(address):
            return address
        chain = [
            part.strip()
            for name, value in scope["headers"]
            if name == b"x-forwarded-for"
            for part in value.decode("latin-1").split(",")
        ]
        for part in reversed(chain):
            if _parsed(part) is None:
                return address
            address = part
            if not self._is_trusted(part):
                break
        return address

    def trusts(self, address: str) -> bool:
        """Whether this is one of our own proxies."""
        return self._is_trusted(address)

    def _look(self, address: str) -> bool:
        ip = _parsed(address)
        return ip is not None and any(ip in network for network in self._trusted)


def counted_as(address: str) -> str:
    """What limits by address count this one under: itself, or its IPv6 network."""
    ip = _parsed(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(ip), _IPV6_PREFIX), strict=False))
    return address if ip is None else str(ip)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address; an IPv4 one that comes as IPv6 is the IPv4 one."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped) or ip
