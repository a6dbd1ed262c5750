"""An administrator's request as an order: who gives it, what comes of it, and how a refusal is said."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edge.audit import By
from edge.auth import Principal
from edge.context import Edge, authorized
from edge.control import Done, Order, Refusal
from edge.errors import InvalidField, Problem, invalid_input
from edge.exits import ExitCode
from edge.pages import decode_cursor, encode_cursor
from edge.replies import HTTPRequest
from edge.schemas import Page
from edge.times import parse_rfc3339

LARGEST_PAGE = 1000


async def administrator(request: HTTPRequest) -> tuple[Edge, By]:
    """The application and who is asking, who may do everything. Raises Problem."""
    edge, principal = await authorized(request, "admin")
    return edge, by(principal)


def by(principal: Principal) -> By:
    return By(door="http", who=principal.name, token=principal.token, account=principal.account)


async def ordered(edge: Edge, who: By, order: Order) -> Any:
    """What the order gave. Raises Problem."""
    answer = await edge.orders.carry_out(order, who)
    if isinstance(answer, Done):
        return answer.result
    raise problem_of(answer)


def problem_of(refusal: Refusal) -> Problem:
    """The same words as on the command line, the hint in brackets."""
    detail = f"{refusal.message} ({refusal.hint})" if refusal.hint else refusal.message
    if refusal.code == ExitCode.NOT_FOUND:
        return Problem("not_found", detail)
    if refusal.code == ExitCode.USAGE:
        return Problem("invalid_input", detail)
    return Problem("unavailable", detail, retry_after_s=1.0)


def given(body: msgspec.Struct) -> dict[str, Any]:
    """The fields that a body has."""
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def limit_of(query: Mapping[str, str], default: int) -> int:
    """``limit``. Raises Problem ``invalid_input``."""
    text = query.get("limit")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LARGEST_PAGE:
        raise invalid_input(InvalidField("range", "limit", f"Must be a number from 1 to {LARGEST_PAGE}"))
    return int(text)


def switch(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is ``true`` or ``false``. Raises Problem ``invalid_input``."""
    text = query.get(name) or "false"
    if text not in ("true", "false"):
        raise invalid_input(InvalidField("enum", name, "Must be true or false"))
    return text == "true"


def whole(results: Sequence[Any]) -> Page:
    """A list that has no pages."""
    return Page(next=None, results=results)


def position(request: HTTPRequest) -> tuple[int, str] | None:
    """Where the page before ended. Raises Problem ``invalid_input``."""
    cursor = request.query_params.get("cursor")
    return decode_cursor(cursor) if cursor else None


def place(row: dict[str, Any]) -> tuple[int, str]:
    """Of a token's or key's record."""
    return parse_rfc3339(row["created_at"]) or 0, row["id"]


def page(
    edge: Edge,
    request: HTTPRequest,
    rows: Sequence[Any],
    size: int,
    place: Callable[[Any], tuple[int, str]],
    kept: Sequence[str],
) -> Page:
    """A page of ``size`` of the rows, of which there is one more if there is another page; ``kept`` are the
    parameters that the next page's URL says again."""
    if len(rows) <= size:
        return Page(next=None, results=rows)
    query = {name: value for name in kept if (value := request.query_params.get(name))}
    following = {"cursor": encode_cursor(place(rows[size - 1])), **query}
    return edge.render.page(rows[:size], request.scope["path"].rstrip("/"), following)
