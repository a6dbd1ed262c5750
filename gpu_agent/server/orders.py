"""What a client asks for: the headers and the body of a creation, checked before anything is done. Pure."""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from coordinator.protocol.addresses import UrlRefused, check_url
from gpu_agent.server.http import Headers, Problem, Refused, header

Event = Literal["start", "output", "logs", "completed"]
ALL_EVENTS: frozenset[Event] = frozenset({"start", "output", "logs", "completed"})
TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})
LONGEST_ID = 256
LONGEST_URL = 65536

_NO_INPUT = msgspec.Raw(b"{}")
_PLACE = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_JSON_TYPE = re.compile(rb"application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)


class Wrong(Protocol):
    """One field of an input that cannot be right; ``field`` is as ``input.prompt``."""

    @property
    def type(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def description(self) -> str: ...


class Door(Protocol):
    """What a model's document says of an input, before the model sees it."""

    streams: bool

    def refused(self, value: Mapping[str, Any]) -> Iterable[Wrong]: ...
    def masked(self, value: bytes) -> bytes: ...


class Ajar:
    """The door of a model that is not known yet: everything gets in, and nothing of it is shown."""

    streams = True

    def refused(self, value: Mapping[str, Any]) -> Iterable[Wrong]:
        return ()

    def masked(self, value: bytes) -> bytes:
        return b"{}"


DoorOf = Callable[[Mapping[str, Any]], Door]
"""Makes the door of a model from its OpenAPI document."""


class Envelope(msgspec.Struct):
    """A request's body, its input as it came."""

    input: msgspec.Raw = _NO_INPUT
    id: str | None = None
    created_at: datetime | None = None
    context: dict[str, str] | None = None
    webhook: str | None = None
    webhook_events_filter: frozenset[Event] | None = None
    output_file_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A creation that may be taken on."""

    id: str
    input: dict[str, Any]
    shown: bytes
    """The input as JSON, its secrets masked."""
    created_at: datetime | None
    context: dict[str, str]
    webhook: str
    """Empty when nobody wants to be told."""
    events: frozenset[Event]
    output_prefix: str
    trace: tuple[tuple[str, str], ...]
    """Headers that go along with whatever is sent out for it."""
    digest: int
    """Of the body of a PUT: tells its repetition from another one under the same id."""


@dataclass(frozen=True, slots=True)
class Preference:
    """How long a client will sit through its request."""

    respond_async: bool = False
    wait_s: float | None = None

    @property
    def hold_s(self) -> float | None:
        """How long the answer is held at most; None for as long as it takes."""
        return 0.0 if self.respond_async and self.wait_s is None else self.wait_s


SYNC = Preference()


def preference(headers: Headers) -> Preference:
    """What ``Prefer`` asks for, token by token as RFC 7240 has it."""
    value = header(headers, b"prefer")
    if not value:
        return SYNC
    respond_async, wait_s = False, None
    for item in b",".join(each for name, each in headers if name == b"prefer").split(b","):
        token, _, argument = item.partition(b";")[0].partition(b"=")
        name = token.strip().lower()
        if name == b"respond-async":
            respond_async = True
        elif name == b"wait" and argument.strip(b' "').isdigit():
            wait_s = float(argument.strip(b' "'))
    return Preference(respond_async, wait_s)


def read_order(
    found: Envelope, headers: Headers, body: bytes, door: Door, path_id: str | None = None
) -> Order:
    """The order in a request. Raises ``Refused`` with 400 or 422."""
    given = _input(found.input)
    problems = [*_envelope(found, path_id), *map(_problem, door.refused(given))]
    if problems:
        raise Refused(422, problems)
    return Order(
        id=path_id or found.id or secrets.token_hex(13),
        input=given,
        shown=door.masked(bytes(found.input)) if given else b"{}",
        created_at=found.created_at,
        context=found.context or {},
        webhook=found.webhook or "",
        events=ALL_EVENTS if found.webhook_events_filter is None else found.webhook_events_filter,
        output_prefix=found.output_file_prefix or "",
        trace=tuple(
            (name.decode(), value.decode("latin-1")) for name, value in headers if name in TRACE_HEADERS
        ),
        digest=0 if path_id is None else hash(body),
    )


def input_problems(error: str, names: Iterable[str]) -> list[Problem]:
    """The model's own refusal of an input, ``name: reason; name: reason``, as a list of problems."""
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    parts = re.split(rf"(?:^|; )({known}): ", error) if known else [error]
    if len(parts) == 1:
        return [Problem(("body", "input"), error, "value_error")]
    return [
        Problem(("body", "input", name), reason, "value_error")
        for name, reason in zip(parts[1::2], parts[2::2], strict=True)
    ]


def late_problems(order: Order, door: Door) -> list[Problem]:
    """What is wrong with the input of an order that was read without its door."""
    return [_problem(wrong) for wrong in door.refused(order.input)]


def shown(order: Order, door: Door) -> Order:
    """The same, its input shown as the door has it."""
    return replace(order, shown=door.masked(msgspec.json.encode(order.input)))


def inspected(order: Order, door: Door) -> Order:
    """Both. Raises ``Refused`` with 422."""
    if problems := late_problems(order, door):
        raise Refused(422, problems)
    return shown(order, door)


def read_envelope(headers: Headers, body: bytes) -> Envelope:
    """Raises ``Refused`` with 400, 415 or 422."""
    kind = header(headers, b"content-type")
    if not body or body.isspace():
        return Envelope()
    if kind and not _JSON_TYPE.match(kind.strip()):
        raise Refused(415, "the body must be JSON, with Content-Type: application/json")
    try:
        return msgspec.json.decode(body, type=Envelope)
    except msgspec.ValidationError as error:
        raise Refused(422, [_type_error(str(error), ("body",))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from None


def _input(raw: msgspec.Raw) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any] | None) or {}
    except msgspec.ValidationError as error:
        raise Refused(422, [_type_error(str(error), ("body", "input"))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from None


def _envelope(body: Envelope, path_id: str | None) -> Iterable[Problem]:
    if path_id is not None and body.id is not None and body.id != path_id:
        yield Problem(("body", "id"), "the id in the body is not the one in the path", "value_error")
    if not 0 < len(path_id or body.id or "-") <= LONGEST_ID or body.id == "":
        yield Problem(("body", "id"), f"an id has 1 to {LONGEST_ID} characters", "value_error")
    if body.webhook is not None and (reason := _bad_url(body.webhook)):
        yield Problem(("body", "webhook"), reason, "value_error.url")
    if body.output_file_prefix and (reason := _bad_url(body.output_file_prefix)):
        yield Problem(("body", "output_file_prefix"), reason, "value_error.url")


def _bad_url(url: str) -> str:
    """Why nothing can be sent there; empty when it can."""
    if len(url) > LONGEST_URL:
        return f"a URL has at most {LONGEST_URL} characters"
    try:
        check_url(url)
        if urlsplit(url).username is not None:
            return "a user name and password in a URL are not supported"
    except UrlRefused as error:
        return str(error)
    return (
        "" if url.isascii() and url.isprintable() and " " not in url else "the URL has characters to escape"
    )


def _problem(wrong: Wrong) -> Problem:
    place = tuple(int(part) if part.isdigit() else part for part in wrong.field.split("."))
    if wrong.type == "required":
        name = wrong.description.partition(" ")[0]
        return Problem(("body", *place, name), "Field required", "value_error.missing")
    return Problem(("body", *place), wrong.description, "value_error")


def _type_error(message: str, place: tuple[str | int, ...]) -> Problem:
    found = _PLACE.search(message)
    if found is None:
        return Problem(place, message, "type_error")
    steps = (int(index) if index.isdigit() else name or index for name, index in _STEP.findall(found["path"]))
    return Problem((*place, *steps), message[: found.start()], "type_error")
