"""What Cog servers of every generation answer, read leniently. Pure.

The generations differ in what is there and in how errors look (docs/reference/cog-server.md): keys may be
missing, logs may be a list, refusals are ``{"detail": …}``, ``{"error": …}`` or plain text.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from gpu_agent.runner_types import Status

ENDED = frozenset({"succeeded", "failed", "canceled"})
ERROR_CHARACTERS = 2000
"""What is repeated of a refusal."""
_PREFIX = re.compile(r"^(Prediction failed: )+")


@dataclass(frozen=True, slots=True)
class Health:
    """An answer to ``GET /health-check``."""

    status: str
    """STARTING, READY, BUSY, SETUP_FAILED, DEFUNCT, UNHEALTHY, UNKNOWN; empty when nobody answered."""
    started_at: str = ""
    """When its setup began: another one is another process."""
    logs: str = ""
    reason: str = ""
    """Why it is unhealthy, or did not answer."""
    silent: bool = False
    """Somebody is there, and has not answered in time."""

    @property
    def up(self) -> bool:
        """It runs predictions, or could."""
        return self.status in ("READY", "BUSY")

    @property
    def lost(self) -> bool:
        """The server, or its model's process, is gone, with all that it ran.

        One that is being set up is a new one. The newest generation is UNHEALTHY when the process has died,
        with the reason that it cannot be asked.
        """
        asked = self.status == "UNHEALTHY" and self.reason and "channel closed" not in self.reason
        return not (self.up or self.silent or asked)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A prediction as an answer or a webhook shows it."""

    status: str
    output: Any = None
    error: str = ""
    logs: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> Status | None:
        """How it ended, if it has."""
        return cast(Status, self.status) if self.status in ENDED else None


def read_health(body: bytes) -> Health:
    """Raises ``ValueError`` when this is no health of a Cog server."""
    found = _mapping(_json(body))
    status = found.get("status")
    if not isinstance(status, str) or not status:
        raise ValueError("the answer has no status")
    setup = _mapping(found.get("setup"))
    return Health(
        status.upper(),
        started_at=_text(setup.get("started_at")),
        logs=_lines(setup.get("logs")),
        reason=_text(found.get("user_healthcheck_error")),
    )


def read_snapshot(body: bytes) -> Snapshot:
    """Raises ``ValueError`` when this is no prediction."""
    found = _json(body)
    if not isinstance(found, dict) or not isinstance(found.get("status"), str):
        raise ValueError("the answer is no prediction")  # noqa: TRY004 - of what came over the network
    return Snapshot(
        found["status"],
        output=found.get("output"),
        error=_PREFIX.sub("", _text(found.get("error"))),
        logs=_lines(found.get("logs")),
        metrics=dict(_mapping(found.get("metrics"))),
    )


def read_document(body: bytes) -> dict[str, Any]:
    """The OpenAPI document; empty when this is none."""
    try:
        found = _json(body)
    except ValueError:
        return {}
    if not isinstance(found, dict) or not _mapping(_mapping(found.get("components")).get("schemas")):
        return {}
    return {**found, "info": dict(_mapping(found.get("info")))}


def refusal(body: bytes) -> str:
    """What a refusal says, in one line."""
    text = body.decode(errors="replace")
    try:
        found = _json(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        detail = found.get("detail", found.get("error"))
        if isinstance(detail, list):
            text = "; ".join(_problem(each) for each in detail)
        elif detail is not None:
            text = str(detail)
    elif isinstance(found, str):
        text = found
    return " ".join(text.split())[:ERROR_CHARACTERS] or "no reason given"


def version_of(document: Mapping[str, Any], name: str) -> str:
    """The version of a model that is known by its document alone, or by its name when it has none.

    SHA-256, in hex, of the document as JSON in UTF-8 with sorted keys and no blanks; without a document, of
    ``{"model":"owner/name"}``.
    """
    described = document or {"model": name}
    text = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _problem(problem: Any) -> str:
    """One entry of a list of problems, as ``input.width: must be at least 1``."""
    entry = _mapping(problem)
    location = entry.get("loc")
    where = [str(part) for part in location if part != "body"] if isinstance(location, list) else []
    message = _text(entry.get("msg")) or str(problem)
    return f"{'.'.join(where)}: {message}" if where else message


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the answer is not JSON: {error}") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "".join(f"{line}\n" for line in value)
    return _text(value)
