"""Which addresses and URLs that a user named may be fetched. Pure rules; the fetchers do the resolving.

A fetcher asks ``check_url`` first, resolves the host, asks ``AddressRules.allows`` for every address it got,
and connects to one of those, not to the name again. It does so anew for each redirect.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Where clouds hand out a machine's credentials. Never allowed, whatever an operator opens."""

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in ("fec0::/10", "3fff::/20", "64:ff9b:1::/48", "192.0.0.0/24", "192.88.99.0/24")
)
"""Site-local and other addresses of no public host that Pythons take for global, some or all of them."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_WEB_PORTS = frozenset({80, 443})
_FIRST_USER_PORT = 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UrlRefused(ValueError):
    """The URL may not be fetched; the text says why and is fit for the user's eyes."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, before its name is resolved."""

    scheme: str
    host: str
    port: int


def http_url(text: str) -> SplitResult | None:
    """The parts of an http(s) URL that names a host, and a port that can be one; None for any other text."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in _DEFAULT_PORTS and parts.hostname else None


def check_url(url: str) -> Target:
    """The target of a URL that a user gave. Raises ``UrlRefused`` for all but http(s) to a plausible port."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlRefused(f"not a URL: {error}") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise UrlRefused("only http and https URLs can be fetched")
    if not parts.hostname:
        raise UrlRefused("the URL names no host")
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]
    if port not in _WEB_PORTS and port < _FIRST_USER_PORT:
        raise UrlRefused(f"port {port} is not one that files are fetched from")
    return Target(parts.scheme, parts.hostname, port)


class AddressRules:
    """What may be connected to: public addresses, and the private networks that an operator opened."""

    def __init__(self, allow_private: Iterable[str] = ()) -> None:
        """``allow_private`` are networks as ``10.0.0.0/8``. Raises ``ValueError`` naming a wrong one."""
        self._opened: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in allow_private)

    def allows(self, address: str) -> bool:
        """True when a connection to this address (no name) is allowed."""
        if "%" in address:
            return False
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return all(self._allows(each) for each in _meant(ip))

    def _allows(self, ip: Address) -> bool:
        if ip in METADATA:
            return False
        if any(ip in network for network in self._opened):
            return True
        if any(ip in network for network in _NOT_PUBLIC):
            return False
        return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _meant(ip: Address) -> list[Address]:
    """The address itself and the IPv4 address that it carries to: all of them have to be allowed."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip.sixtofour is not None:
        return [ip, ip.sixtofour]
    if ip.teredo is not None:
        return [ip, *ip.teredo]
    if ip in _NAT64:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    return [ip]
