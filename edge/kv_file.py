"""Reads the tokens that a Cogflare of 2022 kept.

JSON: an object of token -> record or, as its key-value store is exported, a list of
``{"key": token, "value": record}``. A record is an object, or the text of one.

What is wrong with a record is told by the token's first characters, never by more of it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coordinator.store.tokens import MAX_SECRET_LENGTH, hint_of
from edge.control import ImportedToken
from edge.exits import CommandFailed, ExitCode

FILE_BYTES = 24 * 1024 * 1024
"""Some 100,000 tokens; what is larger is imported in parts."""


class _Wrong(ValueError):
    """One record that cannot be imported, and why."""


def read_entries(path: Path) -> tuple[list[ImportedToken], list[str]]:
    """The tokens of a file, and a line for each record that is none. Raises CommandFailed."""
    entries: list[ImportedToken] = []
    problems: list[str] = []
    seen: set[str] = set()
    for number, (secret, record) in enumerate(_pairs(path), 1):
        label = _label(number, secret)
        try:
            if secret in seen:
                raise _Wrong("it is there twice")
            entries.append(_entry(label, secret, record))
        except _Wrong as wrong:
            problems.append(f"{label}: {wrong}")
        seen.add(secret)
    return entries, problems


def _pairs(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        if path.stat().st_size > FILE_BYTES:
            raise CommandFailed(
                f"{path} is larger than {FILE_BYTES} bytes", ExitCode.USAGE, "import it in parts"
            )
        # Pairs, so that a token that stands there twice is seen.
        document = json.loads(path.read_text("utf-8"), object_pairs_hook=_Pairs)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}", ExitCode.USAGE) from None
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CommandFailed(f"{path} is not JSON in UTF-8{where}", ExitCode.USAGE) from None
    if isinstance(document, _Pairs):
        yield from document
    elif isinstance(document, list) and all(isinstance(each, _Pairs) for each in document):
        for each in document:
            fields = dict(each)
            secret = fields.get("key")
            yield (secret if isinstance(secret, str) else ""), fields.get("value")
    else:
        raise CommandFailed(
            f"{path} has no tokens in it", ExitCode.USAGE, 'it is to be {"TOKEN": {"allow": true, ...}, ...}'
        )


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, with its duplicates."""


def _entry(label: str, secret: str, record: Any) -> ImportedToken:
    if not secret:
        raise _Wrong("it has no token")
    _check_secret("the token", secret)
    if isinstance(record, str):
        try:
            record = json.loads(record, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            raise _Wrong("its record is not JSON") from None
    if not isinstance(record, _Pairs):
        raise _Wrong("its record is not an object")
    fields = dict(record)
    if len(fields) != len(record):
        raise _Wrong("its record has a field twice")
    allow = fields.get("allow", False)  # without it the original let nobody in
    if not isinstance(allow, bool):
        raise _Wrong("allow is neither true nor false")
    worker = _text(fields, "worker")
    if worker is not None:
        _check_secret("worker", worker)
        if "/" in worker:
            raise _Wrong("worker has a slash, so no worker can have dialled in with it")
    return ImportedToken(
        label=label, secret=secret, allow=allow, replicate=_text(fields, "replicate"), worker=worker
    )


def _text(fields: dict[str, Any], name: str) -> str | None:
    """A text of the record; empty is the same as none, as the original had it."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise _Wrong(f"{name} is not a text")
    return value or None


def _check_secret(what: str, secret: str) -> None:
    """It must fit into a header, where clients send it."""
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise _Wrong(f"{what} has characters that no HTTP header carries")
    if len(secret) > MAX_SECRET_LENGTH:
        raise _Wrong(f"{what} is longer than {MAX_SECRET_LENGTH} characters")


def _label(number: int, secret: str) -> str:
    hint = hint_of(secret) if secret.isprintable() else ""
    return f"record {number} (token {hint}...)"
