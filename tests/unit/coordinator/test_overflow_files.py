"""Inputs as a provider can read them, and its output files stored here; real sockets and a real disk."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Raw
from msgspec.structs import replace

from coordinator.actor.clock import SystemClock
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.signing import Signer
from coordinator.overflow.carrier import Unfit
from coordinator.overflow.errand import Errand
from coordinator.overflow.files import OverflowFiles
from coordinator.overflow.policy import Overflow
from coordinator.overflow.replicate import Replicate as Client
from coordinator.protocol import messages as wire
from coordinator.protocol.addresses import AddressRules
from coordinator.protocol.limits import ServerLimits
from tests.support import replicate as loopback
from tests.support.receiver import Reply
from tests.support.replicate import Replicate

BASE = "https://cogflare.example"
OURS = f"{BASE}/v1/files/abc"
KEY = "uploads/abc/cat.png"
CAT = b"\x89PNG miaow"
ERRAND = Errand(
    number=1,
    prediction="p1",
    attempt=1,
    secret="s" * 22,
    key="k" * 22,
    account="acme",
    token="tok_1",
    input=json.dumps({"image": OURS, "more": [OURS, "text"], "url": "https://elsewhere.example/x"}).encode(),
    input_files={OURS: KEY},
    run_s=60.0,
    streams=False,
    target=Overflow(when="always", model="acme/elsewhere"),
    dispatched_at=1_700_000_000_000_000,
)


@pytest.fixture
def there() -> Iterator[Replicate]:
    with loopback.replicate() as found:
        yield found


class Made:
    """The files of a server with these settings."""

    def __init__(self, folder: Path, url: str) -> None:
        self.blobs = DiskBlobs(folder)
        self.client = Client(url)
        self.made: list[OverflowFiles] = []

    def files(self, base: str = "", **limits: Any) -> OverflowFiles:
        found = OverflowFiles(
            providers={"replicate": self.client},
            blobs=self.blobs,
            signer=Signer(b"s" * 32),
            clock=SystemClock(),
            limits=ServerLimits(**limits),
            rules=AddressRules(()),
            tls=httpx.create_ssl_context(),
            base=base,
        )
        self.made.append(found)
        return found

    async def read(self, key: str) -> bytes:
        return b"".join([piece async for piece in self.blobs.read(key)])


@pytest.fixture
async def made(tmp_path: Path, there: Replicate) -> AsyncIterator[Made]:
    made = Made(tmp_path / "blobs", there.url)

    async def cat() -> AsyncIterator[bytes]:
        yield CAT

    await made.blobs.put(KEY, cat(), content_type="image/png", limit_bytes=1000)
    yield made
    for files in made.made:
        await files.close()
    await made.client.close()


class TestGiven:
    async def test_where_it_reaches_us_as_signed_urls(self, made: Made) -> None:
        given = json.loads(await made.files(BASE).given(ERRAND))
        assert given["image"].startswith(f"{BASE}/files/{KEY}?")
        assert "signature=" in given["image"]
        assert given["more"] == [given["image"], "text"]
        assert given["url"] == "https://elsewhere.example/x"

    async def test_the_same_each_time(self, made: Made) -> None:
        """Else it could not be found again by its input."""
        assert await made.files(BASE).given(ERRAND) == await made.files(BASE).given(ERRAND)

    async def test_else_as_data(self, made: Made) -> None:
        given = json.loads(await made.files().given(ERRAND))
        assert given["image"] == "data:image/png;base64,iVBORyBtaWFvdw=="

    async def test_what_is_too_large_for_that(self, made: Made) -> None:
        with pytest.raises(Unfit, match="overflow_inline_bytes"):
            await made.files(overflow_inline_bytes=5).given(ERRAND)

    async def test_what_is_gone(self, made: Made) -> None:
        with pytest.raises(Unfit, match="no longer stored"):
            await made.files().given(replace(ERRAND, input_files={OURS: "uploads/none/x"}))

    async def test_whether_it_could(self, made: Made) -> None:
        assert await made.files().fit({KEY})
        assert not await made.files(overflow_inline_bytes=5).fit({KEY})
        assert await made.files(BASE, overflow_inline_bytes=5).fit({KEY})


class TestKept:
    async def test_files_are_stored_under_the_attempts_key(self, made: Made, there: Replicate) -> None:
        url = there.stores("cat.png", "image/png", CAT)
        value = {"image": url, "again": [url], "text": f"see {url}", "other": "https://example.org/x.png"}
        known: dict[str, wire.StoredFile] = {}
        output, (file,) = await made.files().kept(ERRAND, Raw(json.dumps(value).encode()), known)
        assert file.key.startswith(f"outputs/p1/{'k' * 22}/") and file.key.endswith("/cat.png")
        assert (file.name, file.content_type, file.length) == ("cat.png", "image/png", len(CAT))
        assert await made.read(file.key) == CAT
        reference = f"cogflare://blob/{file.key}"
        assert json.loads(bytes(output)) == {**value, "image": reference, "again": [reference]}
        assert known == {url: file}

    async def test_what_is_stored_is_not_fetched_again(self, made: Made, there: Replicate) -> None:
        url = there.stores("cat.png", "image/png", CAT)
        known: dict[str, wire.StoredFile] = {}
        files, output = made.files(), Raw(json.dumps([url]).encode())
        first = await files.kept(ERRAND, output, known)
        there.files.clear()
        assert await files.kept(ERRAND, output, known) == first

    async def test_by_another_process_too(self, made: Made, there: Replicate) -> None:
        output = Raw(json.dumps([there.stores("cat.png", "image/png", CAT)]).encode())
        first = await made.files().kept(ERRAND, output, {})
        assert await made.files().kept(ERRAND, output, {}) == first

    async def test_one_that_is_not_there(
        self, made: Made, there: Replicate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("coordinator.overflow.files.TRIES_AFTER_S", (0.0, 0.0))
        output = Raw(json.dumps(f"{there.url}/files/none/cat.png").encode())
        with pytest.raises(Unfit, match=r"cat\.png could not be fetched from replicate: the answer was 404"):
            await made.files().kept(ERRAND, output, {})

    async def test_one_that_is_too_large(self, made: Made, there: Replicate) -> None:
        output = Raw(json.dumps(there.stores("cat.png", "image/png", CAT)).encode())
        with pytest.raises(Unfit, match="output_file_bytes"):
            await made.files(output_file_bytes=4).kept(ERRAND, output, {})

    async def test_it_leads_nobody_into_our_network(
        self, made: Made, there: Replicate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A provider that redirects to another address of ours is not followed there."""
        monkeypatch.setattr("coordinator.overflow.files.TRIES_AFTER_S", (0.0,))
        inner = "http://127.0.0.1:1/secret"
        there._receiver.answer = lambda request: Reply(302, {"Location": inner})
        output = Raw(json.dumps(f"{there.url}/files/x/cat.png").encode())
        with pytest.raises(Unfit, match="could not be fetched"):
            await made.files().kept(ERRAND, output, {})


def test_whose_urls_are_fetched() -> None:
    client = Client("https://api.replicate.com")
    assert client.delivers("https://replicate.delivery/x/out.png")
    assert client.delivers("https://pbxt.replicate.delivery/x/out.png")
    assert not client.delivers("http://replicate.delivery/x/out.png")
    assert not client.delivers("https://notreplicate.delivery/x")
    assert not client.delivers("https://example.org/x.png")
    assert not client.delivers("https://api.replicate.com/v1/predictions/x")
    assert not client.delivers("just a text")
    other = Client("http://10.0.0.7:8000")
    assert other.delivers("http://10.0.0.7:8000/files/outputs/a/b?signature=x")
    assert not other.delivers("http://10.0.0.7:8000/admin")
