"""A page of an account's predictions: what the index has, and what has not reached it yet."""

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.keeping import shown
from coordinator.prediction import Document, Status
from edge.context import Edge
from edge.errors import InvalidField, invalid_input
from edge.pages import Position, decode_cursor, encode_cursor
from edge.times import parse_rfc3339

SOURCES = ("api", "web")
"""Replicate's. Nothing here is made by the web, so that finds nothing."""
_KEPT = ("created_after", "created_before", "status", "model", "source")
"""What the next page's URL says again."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is limited to; ``given`` is how the client said it."""

    before: Position | None
    created_after: int | None
    created_before: int | None
    status: Status | None
    model: str | None
    source: str | None
    trainings: bool
    given: Mapping[str, str]

    def have(self, document: Document) -> bool:
        """Whether a document belongs here by all but its status, which may be another by now."""
        return (
            (self.before is None or _position(document) < self.before)
            and (self.created_after is None or document.created_at >= self.created_after)
            and (self.created_before is None or document.created_at < self.created_before)
            and self.model in (None, document.model)
            and self.source in (None, document.source)
            and self.trainings is bool(document.destination)
        )

    def may_have(self, status: Status) -> bool:
        """Whether what has this status may have the wanted one: what has not ended may have begun by now."""
        if self.status is None:
            return True
        return status is self.status or not (status.terminal or self.status.terminal)


def filters(query: Mapping[str, str], *, trainings: bool = False) -> Filters:
    """Of predictions, or of trainings. Raises Problem ``invalid_input``."""
    status, source = query.get("status"), query.get("source")
    if status and status not in (known := [each.value for each in Status]):
        raise invalid_input(InvalidField("enum", "status", f"Must be one of {', '.join(known)}"))
    if source and source not in SOURCES:
        raise invalid_input(InvalidField("enum", "source", f"Must be one of {', '.join(SOURCES)}"))
    return Filters(
        before=decode_cursor(query["cursor"]) if query.get("cursor") else None,
        created_after=_time(query.get("created_after"), "created_after"),
        created_before=_time(query.get("created_before"), "created_before"),
        status=Status(status) if status else None,
        model=query.get("model") or None,
        source=source or None,
        trainings=trainings,
        given={name: query[name] for name in _KEPT if query.get(name)},
    )


async def page(
    edge: Edge, account: str, wanted: Filters, key: str | None = None
) -> tuple[list[Document], dict[str, str] | None]:
    """The documents of one page, newest first, and the query of the next. Of those that have not ended, some
    may have another status than the wanted one. With ``key`` only those that the user with this key made."""
    size = edge.services.limits.page_size
    # Before the rows: what reaches the index while they are read is in neither otherwise.
    pending = edge.services.projector.pending(account)
    if key is not None:
        pending = [document for document in pending if document.user == key]
    rows = await edge.services.store.index.list(
        account,
        before=wanted.before,
        created_after=wanted.created_after,
        created_before=wanted.created_before,
        status=wanted.status,
        model=wanted.model,
        key=key,
        trainings=wanted.trainings,
        limit=size + 1,
    )
    merged = {row.id: row for row in rows}
    for document in pending:
        known = merged.get(document.id)
        if wanted.have(document) and (known is None or known.sequence < document.sequence):
            merged[document.id] = document
    more = len(rows) > size
    now = edge.services.clock.now()
    newest = sorted((shown(each, now) for each in merged.values()), key=_position, reverse=True)
    # What is older than the rows that were read is for a later page, which reads what lies between.
    reach = _position(rows[-1]) if more else None
    newest = [
        document
        for document in newest
        if wanted.have(document)
        and wanted.may_have(document.status)
        and (reach is None or _position(document) >= reach)
    ]
    if len(newest) > size:
        reach = _position(newest[size - 1])
    if reach is None:
        return newest, None
    return newest[:size], {"cursor": encode_cursor(reach), **wanted.given}


async def current(edge: Edge, document: Document) -> Document:
    """What the index does not follow while a prediction runs, when it costs nothing to ask."""
    number = edge.services.ids.number(document.id)
    if document.status.terminal or number is None or not edge.services.models.live(number):
        return document
    try:
        reply = await edge.services.models.stub(number).get(
            calls.Get(id=document.id, account=document.account)
        )
    except Unavailable:
        return document
    return reply.document if isinstance(reply, calls.Found) else document


def _position(document: Document) -> Position:
    return document.created_at, document.id


def _time(text: str | None, name: str) -> int | None:
    if not text:
        return None
    # A plus that was not escaped arrives as a space.
    at = parse_rfc3339(text.replace(" ", "+") if "T" in text else text)
    if at is None:
        raise invalid_input(InvalidField("format", name, "Must be an ISO 8601 time"))
    return at
