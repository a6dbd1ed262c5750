"""Fetching what users name."""

import asyncio
import contextlib
import gzip
import socket

import pytest

from coordinator.protocol.addresses import AddressRules
from gpu_agent.fetch import Fetcher, FetchFailed, shown_url
from gpu_agent.tls import client_context
from tests.support.http_server import Answer, http_server

TLS = client_context()


def fetcher(rules=("127.0.0.0/8",), *, limit_bytes=10_000, limit_s=5.0, **more) -> Fetcher:
    return Fetcher(AddressRules(rules), TLS, limit_bytes=limit_bytes, limit_s=limit_s, **more)


async def fetched(url, folder, **options):
    one = fetcher(**options)
    try:
        return await one.fetch(url, folder)
    finally:
        await one.close()


async def test_bytes_and_name_are_kept(tmp_path):
    async with http_server(lambda request: Answer(body=b"\x00meow")) as server:
        path = await fetched(f"{server.url}/a/my%20cat.png?x=1", tmp_path)
        assert path == tmp_path / "my cat.png"
        assert path.read_bytes() == b"\x00meow"
        assert server.requests[0].path == "/a/my%20cat.png?x=1"
        assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_the_sender_may_name_the_file(tmp_path):
    named = Answer(headers={"Content-Disposition": 'attachment; filename="../../etc/cat.png"'}, body=b"x")
    async with http_server(lambda request: named) as server:
        path = await fetched(f"{server.url}/download", tmp_path)
        assert path.parent == tmp_path
        assert path.name.endswith("cat.png")


@pytest.mark.parametrize("rules", [(), ("10.0.0.0/8",)])
async def test_no_address_of_ours(tmp_path, rules):
    async with http_server(lambda request: Answer(body=b"secret")) as server:
        with pytest.raises(FetchFailed, match="not public"):
            await fetched(f"{server.url}/", tmp_path, rules=rules)
        with pytest.raises(FetchFailed, match="not public"):
            await fetched(f"http://localhost:{server.port}/", tmp_path, rules=rules)
        assert server.requests == []


async def test_one_private_address_among_public_ones_is_enough(tmp_path):
    async def both(host, port):
        return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(FetchFailed, match="not public"):
        await fetched("http://example.org/", tmp_path, rules=(), resolve=both)


async def test_the_name_is_resolved_once_and_the_address_is_used(tmp_path):
    answers = iter([["127.0.0.1"]])

    async def once(host, port):
        assert host == "rebinding.example"
        return next(answers)

    async with http_server(lambda request: Answer(body=b"x")) as server:
        await fetched(f"http://rebinding.example:{server.port}/f", tmp_path, resolve=once)
        assert server.requests[0].headers["host"] == f"rebinding.example:{server.port}"


async def test_redirects_are_followed_and_each_is_checked(tmp_path):
    def answer(request):
        return {
            "/start": Answer(302, {"Location": "/next"}),
            "/next": Answer(307, {"Location": "end.txt"}),
            "/end.txt": Answer(body=b"here"),
            "/loop": Answer(301, {"Location": "/loop"}),
            "/inside": Answer(302, {"Location": "http://169.254.169.254/latest"}),
            "/file": Answer(302, {"Location": "file:///etc/passwd"}),
        }[request.path]

    async with http_server(answer) as server:
        assert (await fetched(f"{server.url}/start", tmp_path)).read_bytes() == b"here"
        with pytest.raises(FetchFailed, match="5 redirects"):
            await fetched(f"{server.url}/loop", tmp_path)
        with pytest.raises(FetchFailed, match="not public"):
            await fetched(f"{server.url}/inside", tmp_path)
        with pytest.raises(FetchFailed, match="only http"):
            await fetched(f"{server.url}/file", tmp_path)


async def test_limits(tmp_path):
    async with http_server(lambda request: Answer(body=b"x" * 10_001)) as server:
        with pytest.raises(FetchFailed, match="larger than 10000 bytes"):
            await fetched(f"{server.url}/f", tmp_path)
    async with http_server(lambda request: Answer(body=b"x" * 100, hang=True)) as server:
        with pytest.raises(FetchFailed, match=r"took over 0\.2 s"):
            await fetched(f"{server.url}/f", tmp_path, limit_s=0.2)
    assert list(tmp_path.iterdir()) == []


async def test_what_goes_wrong_is_said_without_secrets(tmp_path):
    async with http_server(lambda request: Answer(404)) as server:
        with pytest.raises(FetchFailed) as caught:
            await fetched(f"{server.url}/f?signature=secret", tmp_path)
        assert "404" in str(caught.value)
        assert "secret" not in str(caught.value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchFailed, match="could not fetch"):
        await fetched(f"http://127.0.0.1:{port}/", tmp_path)
    async with http_server(lambda request: Answer(cut=True)) as server:
        with pytest.raises(FetchFailed, match="could not fetch"):
            await fetched(f"{server.url}/", tmp_path)
    for url in ("http://user:pass@example.org/", "http://[::1/", "https://\udc80/"):
        with pytest.raises(FetchFailed, match="could not fetch"):
            await fetched(url, tmp_path)
    assert shown_url("https://u:p@h/a?b=c#d") == "https://h/a"


@pytest.mark.parametrize(
    "host",
    [
        *(
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "localhost",
            "LOCALHOST.",
            "0",
            "0.0.0.0",
        ),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
        *("[fe80::1%25lo]", "[fe80::1%lo]", "[::1%25lo]", "[fec0::1]", "169.254.169.254", "[fd00:ec2::254]"),
        *("127.0.0.1%00.example.org", "%31%32%37.0.0.1", "x" * 64 + ".example.org", ".", "-", "a..b"),
    ],
)
async def test_no_spelling_leads_inside(tmp_path, host):
    async with http_server(lambda request: Answer(body=b"secret")) as server:
        with pytest.raises(FetchFailed, match="could not fetch"):
            await fetched(f"http://{host}:{server.port}/", tmp_path, rules=())
        assert server.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "location",
    [
        *("http://[::1]:{port}/", "http://0.0.0.0:{port}/", "//[::ffff:10.0.0.1]:{port}/", "http://10.1/"),
        *(
            "http://user:pass@127.0.0.1:{port}/",
            "http://127.0.0.1:22/",
            "gopher://127.0.0.1:{port}/",
            "http://[::1/",
        ),
        *("http://\\127.0.0.1/", "http://2852039166/latest"),
    ],
)
async def test_no_redirect_leads_inside(tmp_path, location):
    def answer(request):
        return Answer(302, {"Location": location.format(port=server.port)})

    async with http_server(answer) as server:
        with pytest.raises(FetchFailed, match="could not fetch"):
            await fetched(f"{server.url}/start", tmp_path)
        assert [request.path for request in server.requests] == ["/start"]
    assert list(tmp_path.iterdir()) == []


async def test_what_is_packed_stays_packed(tmp_path):
    bomb = gzip.compress(b"\0" * 50_000_000, 9)
    assert len(bomb) < 100_000
    async with http_server(lambda request: Answer(headers={"Content-Encoding": "gzip"}, body=bomb)) as server:
        path = await fetched(f"{server.url}/bomb", tmp_path, limit_bytes=100_000)
        assert path.read_bytes() == bomb
        assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_an_answer_that_drips_is_given_up(tmp_path):
    over = asyncio.Event()

    async def drip(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        try:
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"X: y\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.01)
        finally:
            writer.close()
            over.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchFailed, match="could not fetch"):
            await fetched(f"http://127.0.0.1:{port}/", tmp_path, limit_s=0.3)
        await asyncio.wait_for(over.wait(), 5)
