"""Which addresses and URLs may be fetched."""

import pytest

from coordinator.protocol.addresses import METADATA, AddressRules, UrlRefused, check_url, http_url


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address):
    assert AddressRules().allows(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1"),
        *(
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
        ),
        *("fec0::1", "3fff::1", "64:ff9b:1::a00:1", "192.0.0.8", "192.88.99.1", "::ffff:0:127.0.0.1"),
        *("::127.0.0.1", "2001:0:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "1.1.1.1%x"),
        *("127.1", "0177.0.0.1", "::1%25eth0", "[::1]", "127.0.0.1\n", "\uff1127.0.0.1"),
        *("", "localhost", "8.8.8.8.8", "0x7f000001", "2130706433"),
        *sorted(map(str, METADATA)),
    ],
)
def test_everything_else(address):
    assert not AddressRules().allows(address)


def test_opened_networks_never_open_metadata():
    rules = AddressRules(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "fd00::/8", "0.0.0.0/0"])
    assert rules.allows("10.2.3.4")
    assert rules.allows("::ffff:10.2.3.4")
    assert rules.allows("127.0.0.1")
    assert rules.allows("fd12::9")
    assert not rules.allows("::1")
    for address in METADATA:
        assert not rules.allows(str(address))
    assert not rules.allows("::ffff:169.254.169.254")
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        AddressRules(["10.0.0.1/8"])


def test_urls():
    assert check_url("https://Example.org/a?b#c").port == 443
    assert check_url("http://example.org:8080/").host == "example.org"
    assert check_url("http://[::1]/").host == "::1"
    for url in (
        "file:///etc/passwd",
        "ftp://h/",
        "//h/",
        "http:///x",
        "",
        "http://h:25/",
        "http://h:99999/",
        "http://[x/",
    ):
        with pytest.raises(UrlRefused):
            check_url(url)


@pytest.mark.parametrize(
    "text", ["http://h", "https://h:8443/prefix", "http://[::1]:80", "http://127.0.0.1?q"]
)
def test_a_url_of_a_web_server(text: str) -> None:
    parts = http_url(text)
    assert parts is not None
    assert parts.geturl() == text


@pytest.mark.parametrize("text", ["", "h", "ftp://h", "http://", "http://[h", "http://h:x", "http://h:99999"])
def test_what_is_no_url_of_a_web_server(text: str) -> None:
    assert http_url(text) is None
