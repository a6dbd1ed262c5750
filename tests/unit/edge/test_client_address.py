"""Which machine asks, and who may say so."""

from typing import Any

import pytest

from edge.client_address import ClientAddresses, counted_as

PROXIES = ClientAddresses(("127.0.0.0/8", "10.0.0.0/8", "::1/128"))


def scope(address: str, *forwarded: str) -> dict[str, Any]:
    return {
        "client": (address, 40_000),
        "headers": [(b"host", b"h"), *((b"x-forwarded-for", text.encode("latin-1")) for text in forwarded)],
    }


@pytest.mark.parametrize(
    ("address", "forwarded", "expected"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.1",), "192.0.2.1"),
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("127.0.0.1", ("203.0.113.9, 198.51.100.1",), "198.51.100.1"),
        ("127.0.0.1", ("203.0.113.9", "198.51.100.1, 10.0.0.7"), "198.51.100.1"),
        ("::ffff:127.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("::1", ("2001:db8::5",), "2001:db8::5"),
        ("127.0.0.1", ("10.0.0.1, 10.0.0.2",), "10.0.0.1"),
        ("127.0.0.1", ("198.51.100.1, nonsense",), "127.0.0.1"),
        ("127.0.0.1", ("198.51.100.1, nonsense, 10.0.0.3",), "10.0.0.3"),
        ("127.0.0.1", ("",), "127.0.0.1"),
        ("127.0.0.1", ("\xff, [::1], 1.2.3.4:80",), "127.0.0.1"),
    ],
)
def test_the_last_address_that_nobody_of_ours_vouches_for(
    address: str, forwarded: tuple[str, ...], expected: str
) -> None:
    assert PROXIES.of(scope(address, *forwarded)) == expected


def test_nobody_is_trusted_unless_named() -> None:
    assert ClientAddresses().of(scope("127.0.0.1", "198.51.100.1")) == "127.0.0.1"
    assert ClientAddresses().of({"client": None, "headers": []}) == "unknown"
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        ClientAddresses(("10.0.0.1/8",))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_what_an_address_counts_as(address: str, expected: str) -> None:
    assert counted_as(address) == expected
