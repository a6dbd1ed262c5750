"""What ``--file-redirect`` may be, and who is sent on."""

from typing import Any

import pytest

from coordinator.blobs.disk import DiskBlobs
from edge.redirects import NO_REDIRECTS, Redirects, redirects_of


class Asked:
    """A request, as far as it counts here."""

    def __init__(self, method: str = "GET", **headers: str) -> None:
        self.method = method
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope = {"headers": pairs}


@pytest.mark.parametrize("text", ["", "bucket", "https://cdn.example.org/files/", "http://10.0.0.1:81"])
def test_what_it_may_be(text: str) -> None:
    assert redirects_of(text, bucket=True) == Redirects(text)


@pytest.mark.parametrize("text", ["bukcet", "cdn.example.org", "https://x/?a=b", "ftp://x"])
def test_what_it_may_not_be(text: str) -> None:
    with pytest.raises(ValueError, match="neither 'bucket' nor a URL"):
        redirects_of(text, bucket=True)


def test_a_disk_is_not_to_be_redirected_to() -> None:
    with pytest.raises(ValueError, match="needs --storage s3://"):
        redirects_of("bucket", bucket=False)


@pytest.mark.parametrize(
    ("redirects", "asked", "to"),
    [
        (Redirects("https://cdn.test/f/"), Asked(), b"https://cdn.test/f/outputs/a%2520b.png"),
        (Redirects("https://cdn.test/f"), Asked(authorization="Bearer x"), None),
        (Redirects("https://cdn.test/f"), Asked("HEAD"), None),
        (Redirects("https://cdn.test/f"), Asked(user_agent="cogflare-agent"), None),
        (NO_REDIRECTS, Asked(), None),
        (NO_REDIRECTS, Asked(cogflare_follow="storage"), None),
    ],
)
async def test_who_is_sent_on(redirects: Redirects, asked: Any, to: bytes | None, tmp_path: Any) -> None:
    blobs = DiskBlobs(tmp_path)
    reply = await redirects.reply(asked, blobs, "outputs/a%20b.png", "a b.png", "image/png")
    assert (None if reply is None else dict(reply.headers)[b"location"]) == to
