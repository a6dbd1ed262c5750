"""Log records as lines of JSON, for server and agent alike.

What a record is about comes as ``extra=about(...)``; what a whole task is about, by ``task_is_about``:
``request_id``, ``prediction``, ``attempt``, ``model``, ``trace_id``, as far as they are known.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_task: ContextVar[dict[str, Any]] = ContextVar("cogflare_log", default={})  # noqa: B039 - never changed


def about(**ids: Any) -> dict[str, Any]:
    """``extra`` of a record; what is empty is left out."""
    return {"about": {name: value for name, value in ids.items() if value}}


def task_is_about(**ids: Any) -> None:
    """All records of this task, from now on."""
    _task.set(about(**ids)["about"])


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; a request's has its parts as members."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        access = getattr(record, "access", None)
        line |= {"message": record.getMessage()} if access is None else access
        line |= {**_task.get(), **getattr(record, "about", {})}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
