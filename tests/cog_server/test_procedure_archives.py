"""Procedures whose sources are archives: good ones are run, hostile ones are refused and leave nothing."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cog_server.procedures import Procedures
from tests.support.receiver import Receiver, Reply

Serve = Callable[..., Procedures]

PREDICTOR = (
    "from cog import BasePredictor\n"
    "class Predictor(BasePredictor):\n"
    "    def predict(self) -> str:\n"
    "        return open('note').read()\n"
)
GOOD = {"predict.py": PREDICTOR, "note": "n"}


def member(name: str, **more: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(found, key, value)
    return found


def tar(*members: tarfile.TarInfo, mode: str = "w:gz", files: dict[str, str] | None = None) -> bytes:
    """The members, which are empty, after the files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in (GOOD if files is None else files).items():
            archive.addfile(member(name, size=len(text)), io.BytesIO(text.encode()))
        for each in members:
            archive.addfile(each)
    return out.getvalue()


def zipped(files: dict[str, str], *, links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
    return out.getvalue()


def inside(folder: str) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in GOOD.items()}


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    return member(name, type=kind, linkname=target)


@pytest.fixture
def offered(hooks: Receiver) -> Callable[[bytes], str]:
    """The URL of an archive."""

    def offer(archive: bytes, name: str = "source.tar.gz") -> str:
        hooks.answer = lambda request: Reply(body=archive)
        return f"{hooks.url}/{name}"

    return offer


NOTE_IS_LINK = {"predict.py": PREDICTOR, "real/note": "n"}


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(tar(), id="tar.gz"),
        pytest.param(tar(mode="w"), id="tar"),
        pytest.param(tar(mode="w:xz"), id="tar.xz"),
        pytest.param(tar(files=inside("repository-main")), id="in a folder"),
        pytest.param(zipped(GOOD), id="zip"),
        pytest.param(zipped(inside("repository-main")), id="zip in a folder"),
        pytest.param(tar(link("note", "real/note"), files=NOTE_IS_LINK), id="symbolic link"),
        pytest.param(tar(link("note", "real/note", tarfile.LNKTYPE), files=NOTE_IS_LINK), id="hard link"),
        pytest.param(zipped(NOTE_IS_LINK, links={"note": "real/note"}), id="link in a zip"),
    ],
)
def test_good_ones(serve_procedures: Serve, offered: Callable[[bytes], str], archive: bytes) -> None:
    assert serve_procedures().succeeded(offered(archive)) == "n"


HOSTILE = [
    (tar(member("../evil")), "leads out"),
    (tar(member("a/../../evil")), "leads out"),
    (tar(member("/tmp/cogflare-evil")), "leads out"),
    (tar(link("a", "/etc")), "leads out"),
    (tar(link("a", "../..")), "leads out"),
    (tar(link("a", "/"), member("a/tmp/evil")), "one name"),
    (tar(link("a/b/c", "../.."), link("d", "a/b/c/../.."), link("d/evil", "x")), "behind a link"),
    (tar(link("d", "a/b/c/../.."), link("a/b/c", "../..")), "leads out"),
    (tar(link("a", "b"), link("b", "a")), "link to itself"),
    (tar(link("a", "../../../etc/passwd", tarfile.LNKTYPE)), "leads out"),
    (tar(link("a", "nothing", tarfile.LNKTYPE)), "not there"),
    (tar(member("device", type=tarfile.BLKTYPE, devmajor=8)), "neither a file"),
    (tar(member("pipe", type=tarfile.FIFOTYPE)), "neither a file"),
    (tar(*(member(str(number)) for number in range(60))), "more than 50 files (--source-files)"),
    (tar(files={**GOOD, "large": "0" * 3_000_000}), "larger than 1048576 bytes (--unpacked-bytes)"),
    (zipped({**GOOD, "large": "0" * 3_000_000}), "larger than 1048576 bytes (--unpacked-bytes)"),
    (zipped({**GOOD, "../evil": ""}), "leads out"),
    (zipped({**GOOD, "/tmp/cogflare-evil": ""}), "leads out"),
    (zipped(GOOD, links={"a": "/etc"}), "leads out"),
    (zipped(GOOD)[:-40], "damaged"),
    (tar()[:-40], "damaged"),
    (b"<html>not found</html>", "no .tar.gz"),
    (b"", "no .tar.gz"),
    (os.urandom(300_000), "larger than 262144 bytes (--source-bytes"),
]


def test_hostile_ones(serve_procedures: Serve, offered: Callable[..., str]) -> None:
    limits = {"source-bytes": "256KiB", "unpacked-bytes": "1MiB", "source-files": "50"}
    options = [word for name, value in limits.items() for word in (f"--{name}", value)]
    server = serve_procedures(*options)
    for number, (archive, message) in enumerate(HOSTILE):
        found = server.failed(offered(archive, f"{number}.tar.gz"))
        assert message in found["error"], (number, found["error"])
    assert server.states() == {}
    assert not Path("/tmp/cogflare-evil").exists()
    assert server.succeeded(offered(tar())) == "n"


def test_one_that_cannot_be_had(serve_procedures: Serve, hooks: Receiver) -> None:
    server = serve_procedures("--source-s", "0.5")
    hooks.answer = lambda request: Reply(404)
    assert "the answer was 404" in server.failed(f"{hooks.url}/none.zip?sig=secret")["error"]
    assert "secret" not in server.http.get("/health-check").text


def test_one_in_a_network_that_is_closed(serve_procedures: Serve, hooks: Receiver) -> None:
    server = serve_procedures("--public-inputs-only")
    assert "not public" in server.failed(f"{hooks.url}/a.zip")["error"]
    assert hooks.received == []
