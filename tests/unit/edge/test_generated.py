"""Parsers of what strangers send, with whatever they may send: an answer or a refusal, no other error."""

import asyncio
import math
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multipart import MultipartError

from edge.auth import tokens_of
from edge.client_address import ClientAddresses, counted_as
from edge.depth import too_deep
from edge.errors import Problem
from edge.pages import decode_cursor, encode_cursor
from edge.prefer import preference, wait_of
from edge.times import parse_rfc3339
from edge.uploads import Part, boundary_of, form_events
from edge.wishes import LONGEST_TOTAL_S, SHORTEST_TOTAL_S, cancel_after
from tests.support.examples import examples

LONGEST_S = 55.0
# What parses as something, with bytes that spoil it here and there.
preferences = st.lists(
    st.sampled_from(
        ["wait", "wait=", "=", ",", ";", '"', "5", "1e400", "nan", "-1", " ", "respond-async", "\xa0"]
    )
).map("".join)
header_values = st.one_of(st.binary(), preferences.map(lambda text: text.encode("latin-1")))


@examples(200)
@given(header_values, header_values)
@example(b"wait=inf", b"nan")
@example(b"wait=1_0", b"1e309")
def test_prefer(prefer: bytes, timeout: bytes) -> None:
    wait = wait_of([(b"prefer", prefer), (b"x-stainless-read-timeout", timeout)], LONGEST_S)
    if wait is not None:
        assert math.isfinite(wait.timeout_s)
        assert 0 <= wait.timeout_s <= LONGEST_S
        assert wait.applied.isascii()
        assert wait.applied.startswith("wait")
        assert "\n" not in wait.applied
    preference([(b"prefer", prefer)], "cancel-on-disconnect")


@examples(200)
@given(st.one_of(st.text(), st.text("0123456789hms \u0660\u00b2+-."), st.from_regex(r"(\d{0,9}[hms]){0,4}")))
@example("0h0m4s")
@example("999999h")
@example("\u0665\u0665s")
def test_cancel_after(text: str) -> None:
    seconds = cancel_after(text)
    assert seconds is None or SHORTEST_TOTAL_S <= seconds <= LONGEST_TOTAL_S


@examples(200)
@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-cogflare-token", b"other"]), st.binary())))
@example([(b"authorization", b"Bearer")])
@example([(b"authorization", b"Bearer \xff\x00 x")])
@example([(b"authorization", b"\x85 token\xa0 x")])
def test_token(headers: list[tuple[bytes, bytes]]) -> None:
    secrets = tokens_of(headers)
    assert len(secrets) <= 2
    for secret in secrets:
        assert secret != ""
        assert any(secret.encode("latin-1") in value for name, value in headers if name != b"other")


@examples(200)
@given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1"))))
@example("cD0xLg==")
@example("cD3Zpi54")
@example("\udc80")
def test_cursor_of_anybody(text: str) -> None:
    try:
        at, id = decode_cursor(text)
    except Problem as problem:
        assert problem.code == "invalid_input"
    else:
        assert 0 <= at < 10**18
        assert id


@examples(100)
@given(st.integers(0, 10**18 - 1), st.text(min_size=1).filter(str.isprintable))
def test_cursor_of_ours(at: int, id: str) -> None:
    assert decode_cursor(encode_cursor((at, id))) == (at, id)


@examples(200)
@given(st.text(), st.lists(st.binary()), st.booleans())
def test_address(client: str, forwarded: list[bytes], trusted: bool) -> None:
    addresses = ClientAddresses(("0.0.0.0/0", "::/0") if trusted else ())
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    assert isinstance(counted_as(addresses.of({"client": (client, 1), "headers": headers})), str)


@examples(200)
@given(
    st.one_of(st.text(), st.from_regex(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{0,12})?(Z|[+-]\d\d:\d\d)"))
)
@example("9999-12-31T23:59:59-23:59")
@example("0001-01-01T00:00:00+23:59")
def test_time(text: str) -> None:
    assert isinstance(parse_rfc3339(text), int | None)


@examples(100)
@given(
    st.recursive(st.sampled_from([b'"[{"', b"1", b'"\\"["']), lambda inner: inner.map(lambda x: b"[%s]" % x))
)
def test_depth(text: bytes) -> None:
    depth = len(text) - len(text.lstrip(b"["))
    assert not too_deep(text, depth)
    assert depth == 0 or too_deep(text, depth - 1)


def request(content_type: bytes, pieces: list[bytes]) -> Any:
    """What the multipart reader sees of a request."""
    left = iter(pieces)

    async def receive() -> dict[str, Any]:
        piece = next(left, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return SimpleNamespace(scope={"headers": [(b"content-type", content_type)]}, receive=receive)


async def _read(events: AsyncGenerator[Any, None]) -> list[Any]:
    return [event async for event in events]


fragments = st.sampled_from(
    [
        *(b"--x", b"--x--", b"\r\n", b"\n", b"\r", b"-", b"", b"\x00", b"\xff", b"abc", b"--y\r\n"),
        b"--x\r\nContent-Disposition: form-data; name=content; filename=f\r\n\r\n",
        b"--x\r\nContent-Disposition: form-data; name*=utf-8''%ff; filename=\"\r\n\r\n",
        b"Content-Disposition: form-data",
        b"Content-Type: text/plain; charset=nonsense\r\n",
        b"Content-Length: -1\r\n",
        b"X\xff: \xff\r\n",
    ]
)


@examples(300)
@given(st.lists(st.one_of(fragments, st.binary(max_size=20)), max_size=40), st.integers(1, 200))
def test_multipart(pieces: list[bytes], limit_bytes: int) -> None:
    asked = request(b"multipart/form-data; boundary=x", pieces)
    try:
        events = asyncio.run(_read(form_events(asked, "x", 4, limit_bytes)))
    except MultipartError:
        return
    except Problem as problem:
        assert problem.code in ("too_large", "bad_request")
        return
    assert sum(len(event) for event in events if isinstance(event, bytes)) <= limit_bytes
    assert sum(isinstance(event, Part) for event in events) <= 4


@examples(200)
@given(
    st.one_of(
        st.binary(),
        st.lists(
            st.sampled_from(
                [b"multipart/form-data", b";", b" boundary", b"=", b'"', b"x", b"\\", b"\xff", b"\n", b"*"]
            )
        ).map(b"".join),
    )
)
@example(b"multipart/form-data; boundary=\xff")
@example(b'multipart/form-data; boundary="a\nb"')
def test_boundary(content_type: bytes) -> None:
    asked = request(content_type, [b"--x\r\n"])
    try:
        boundary = boundary_of(asked, "content")
    except Problem as problem:
        assert problem.code == "unsupported_media_type"
        return
    with pytest.raises((MultipartError, Problem)):
        asyncio.run(_read(form_events(asked, boundary, 4, 100)))
