"""The errors that clients see: problem documents (RFC 7807) with Replicate's members, and their public codes.

Problem     anything a handler refuses; rendered as ``application/problem+json``

``code`` is ours and stable; ``title`` and ``detail`` are for people. docs/reference/errors.md has the table.
"""

import math
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the public table: HTTP status, title (None: Replicate sends none), when it happens."""

    status: int
    title: str | None
    meaning: str


CODES: dict[str, Kind] = {
    "bad_request": Kind(400, "Bad request", "the request is not well-formed HTTP, JSON or multipart"),
    "unauthenticated": Kind(401, "Unauthenticated", "no token, or one that is unknown, expired or revoked"),
    "missing_scope": Kind(403, "Forbidden", "the token lacks the scope that this call needs"),
    "not_allowed": Kind(403, "Forbidden", "the token may not do this, or not with that model"),
    "distrusted": Kind(
        403, "Forbidden", "a worker of 2022 whose answers cannot be trusted any more: restart its container"
    ),
    "no_open_job": Kind(403, "Forbidden", "an upload of a worker of 2022 that has no job of the model now"),
    "bad_signature": Kind(403, "Forbidden", "the URL is not one that this server signed"),
    "link_expired": Kind(403, "Forbidden", "the signed URL was valid once and no longer is"),
    "not_found": Kind(404, None, "no such thing, or it belongs to another account"),
    "method_not_allowed": Kind(405, "Method not allowed", "the path exists, but not for this method"),
    "request_timeout": Kind(408, "Request timeout", "the request came too slowly, and was given up"),
    "not_ended": Kind(409, "Conflict", "this can be done only once the prediction has ended"),
    "conflict": Kind(409, "Conflict", "an upload under this key is already stored with other content"),
    "gone": Kind(410, "Gone", "it was here and was removed: its time was over, or it was deleted"),
    "too_large": Kind(413, "Too large", "the body or file is larger than the limit"),
    "url_too_long": Kind(414, "URL too long", "the URL is longer than the limit"),
    "unsupported_media_type": Kind(415, "Unsupported media type", "the body is not of the type expected"),
    "range_not_satisfiable": Kind(416, "Range not satisfiable", "the range lies outside of the file"),
    "checksum_mismatch": Kind(
        422, "Checksum mismatch", "the bytes do not match the announced length or hash"
    ),
    "invalid_input": Kind(422, "Input validation failed", "fields are missing or wrong; each one is named"),
    "in_use": Kind(422, "In use", "something still needs what is to be deleted; the detail says what"),
    "key_reused": Kind(
        422, "Key used before", "the Idempotency-Key or id was used before, for another request"
    ),
    "refused_before": Kind(
        422,
        "Refused before",
        "this part of a batch was refused when the batch was sent first, under this key",
    ),
    "invalid_version": Kind(422, "Invalid version or not permitted", "no such model version in your pools"),
    "not_trainable": Kind(422, "Not trainable", "the version has no train, or no worker of yours runs it"),
    "no_webhook": Kind(422, "No webhook", "there is no webhook of this prediction's end to send again"),
    "no_such_hardware": Kind(
        422, "No such hardware", "the model needs a GPU that no worker of your pools ever had"
    ),
    "headers_too_large": Kind(431, "Headers too large", "the request's headers are too many or too large"),
    "storage_full": Kind(
        429, "Storage full", "the files of your account take all that it may have; see Retry-After"
    ),
    "daily_limit": Kind(
        429,
        "Daily limit reached",
        "your token or account has what it may have in a day (UTC); see Retry-After",
    ),
    "throttled": Kind(429, "Too many requests", "you have asked for too much; see Retry-After"),
    "connections_full": Kind(503, "Service unavailable", "too many connections are open; see Retry-After"),
    "queue_full": Kind(503, "Queue full", "too many predictions wait for this model; see Retry-After"),
    "queue_bytes_full": Kind(503, "Queue full", "the waiting inputs of this model are too large together"),
    "index_behind": Kind(
        503, "Service unavailable", "new predictions come faster than they can be listed; see Retry-After"
    ),
    "models_full": Kind(
        503, "Service unavailable", "more models are in use at once than the server keeps; see Retry-After"
    ),
    "unavailable": Kind(
        503, "Service unavailable", "the answer is unknown: repeat the call; see Retry-After"
    ),
    "internal": Kind(
        500, "Internal server error", "our mistake; the request id finds it in the server's log"
    ),
}


class InvalidField(msgspec.Struct, frozen=True):
    """One refused field. ``field`` is ``input.prompt``, ``version``, or empty for the whole body."""

    type: str
    field: str
    description: str


class Problem(Exception):
    """A refusal, by its public code. ``retry_after_s`` also becomes the Retry-After header."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        invalid_fields: tuple[InvalidField, ...] = (),
        retry_after_s: float | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.kind = CODES[code]
        self.detail = detail
        self.invalid_fields = invalid_fields
        self.retry_after_s = None if retry_after_s is None else max(1, math.ceil(retry_after_s))
        self.headers = headers

    @property
    def status(self) -> int:
        return self.kind.status

    def body(self, request_id: str = "") -> bytes:
        document: dict[str, Any] = {} if self.kind.title is None else {"title": self.kind.title}
        document.update(detail=self.detail, status=self.status, code=self.code)
        if self.invalid_fields:
            document["invalid_fields"] = self.invalid_fields
        if self.retry_after_s is not None:
            document["retry_after"] = self.retry_after_s
        if request_id:
            document["request_id"] = request_id
        return msgspec.json.encode(document) + b"\n"


def unauthenticated(detail: str) -> Problem:
    return Problem("unauthenticated", detail, headers=((b"www-authenticate", b"Bearer"),))


def not_found(detail: str = "The requested resource could not be found.") -> Problem:
    return Problem("not_found", detail)


def invalid_input(*fields: InvalidField) -> Problem:
    """A 422 that names every field, with one line of ``detail`` for each."""
    lines = "".join(f"- {f.field}: {f.description}\n" if f.field else f"- {f.description}\n" for f in fields)
    return Problem("invalid_input", lines, invalid_fields=fields)


def invalid_version(hint: str = "") -> Problem:
    """``hint`` says what else to try."""
    detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
    return Problem("invalid_version", f"{detail}. {hint}" if hint else detail)
