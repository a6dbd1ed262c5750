"""Whether who asks for a stored file is sent on to where the store itself has it."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from coordinator.blobs.base import Blobs
from edge.replies import HTTPRequest, Reply, header

FOLLOW_HEADER, FOLLOWS = b"cogflare-follow", "storage"
"""An agent says that it goes on to the store. It comes back without that if it cannot reach it,"""
AGENT = "cogflare-agent"
"""and is not sent there again; nor are agents of before."""
BUCKET = "bucket"
URL_TTL_S = 3600.0
FRESH_S = 300
"""For so long a browser may remember where it was sent: much less than the URL there is good."""


@dataclass(frozen=True, slots=True)
class Redirects:
    """``to`` is empty for none, ``bucket``, or the URL below which a CDN has the files by their keys."""

    to: str = ""

    async def reply(
        self, request: HTTPRequest, blobs: Blobs, key: str, name: str, content_type: str
    ) -> Reply | None:
        """The answer that sends the client on; None when it gets the bytes from us.

        A client with a token gets them from us: the official one of Python sends it along and goes nowhere
        else, and a store refuses a token beside a signature.
        """
        if request.method != "GET":
            return None
        if header(request, FOLLOW_HEADER) == FOLLOWS:
            url = await blobs.get_url(key, name=name, content_type=content_type, ttl_s=URL_TTL_S)
            return None if url is None else Reply(status=307, headers=((b"location", url.encode()),))
        if not self.to or header(request, b"authorization") is not None:
            return None
        if header(request, b"user-agent") == AGENT:
            return None
        if self.to == BUCKET:
            url = await blobs.get_url(key, name=name, content_type=content_type, ttl_s=URL_TTL_S)
        else:
            url = f"{self.to.rstrip('/')}/{quote(key, safe='/')}"
        if url is None:
            return None
        return Reply(
            status=302,
            headers=(
                (b"location", url.encode()),
                (b"cache-control", b"private, max-age=%d" % FRESH_S),
                (b"referrer-policy", b"no-referrer"),
                (b"access-control-allow-origin", b"*"),
            ),
        )


NO_REDIRECTS = Redirects()


def redirects_of(text: str, *, bucket: bool) -> Redirects:
    """What the setting says; ``bucket``: files are in one. Raises ValueError."""
    if not text:
        return NO_REDIRECTS
    if not bucket:
        raise ValueError("files are on this machine's disk: it needs --storage s3://…")
    if text == BUCKET:
        return Redirects(text)
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is neither 'bucket' nor a URL such as https://cdn.example.org/files")
    return Redirects(text)
