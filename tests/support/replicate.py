"""A loopback Replicate: a real HTTP server with the shapes of its API, as a test has it behave.

It begins what it is asked for and leaves it ``starting``; ``becomes`` moves a prediction on. ``script`` says
what becomes of the next creations.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.support.commands import until
from tests.support.receiver import Received, Receiver, Reply, receiver

VERSION = "e" * 64
KEY = "r8_test"
_PAGE = 100


@dataclass
class Refusal:
    """One creation is answered so, and nothing begins; unless ``begins``."""

    status: int
    detail: str = "refused"
    headers: dict[str, str] = field(default_factory=dict)
    begins: bool = False


@dataclass
class Silence:
    """One creation begins, and its answer does not come before ``over`` is set."""

    over: threading.Event = field(default_factory=threading.Event)


class Replicate:
    """See the module."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._lock = threading.Lock()
        self.script: list[Refusal | Silence] = []
        self.begun: list[dict[str, Any]] = []
        """Predictions, as they are shown."""
        self.webhooks: dict[str, str] = {}
        self.canceled: list[str] = []
        self.creations = 0
        """Those asked for, whatever became of them."""
        self.keys: set[str] = {KEY}
        self.models: dict[str, str] = {"acme/elsewhere": VERSION}
        """Newest version by name; empty for an official one."""
        self.older: dict[str, str] = {}
        """Another version by name."""
        self.schemas: dict[str, dict[str, Any]] = {}
        """OpenAPI document by name; SCHEMA for others."""
        self.private: dict[str, str] = {}
        """The key that alone may see a model, by name."""
        self.looked_up: list[str] = []
        """Paths of what was asked about models."""
        self.files: dict[str, tuple[str, bytes]] = {}
        """Content type and bytes by path."""
        self.down = 0
        """The status of the answer to every question about predictions, if not 0."""
        self.models_down = 0
        """That of every question about models."""
        receiver.answer = self._answer

    @property
    def url(self) -> str:
        return self._receiver.url

    @property
    def looks(self) -> int:
        """How often a prediction was looked at."""
        return sum(
            request.method == "GET" and request.path.startswith("/v1/predictions/")
            for request in self._receiver.received
        )

    def becomes(self, id: str, status: str, output: Any = None, **fields: Any) -> None:
        with self._lock:
            record = self._find(id)
            assert record is not None
            record |= {"status": status, "output": output, **fields}
            if status != "starting":
                record.setdefault("started_at", _time(time.time()))
            if status in ("succeeded", "failed", "canceled"):
                record["completed_at"] = _time(time.time())
                record["metrics"] = {"predict_time": 0.5, "total_time": 0.7}

    def stores(self, name: str, content_type: str, content: bytes) -> str:
        """The URL of an output file."""
        path = f"/files/{secrets.token_hex(6)}/{name}"
        self.files[path] = content_type, content
        return self.url + path

    def one(self, count: int = 1) -> dict[str, Any]:
        """The last prediction, once so many have begun."""
        until(lambda: len(self.begun) >= count, f"{count} have begun")
        assert len(self.begun) == count
        return self.begun[-1]

    def tell(self, id: str) -> int:
        """Send the webhook of its end; gives the status of the answer."""
        with self._lock:
            body = dict(self._find(id) or {})
        return httpx.post(self.webhooks[id], json=body, timeout=10).status_code

    # --- the API ------------------------------------------------------------------------------------------

    def _answer(self, request: Received) -> Reply:
        parts = urlsplit(request.path)
        if parts.path in self.files:
            content_type, content = self.files[parts.path]
            return Reply(200, {"Content-Type": content_type}, content)
        if parts.path.startswith("/files/"):
            return _problem(404, "There is no such file")
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key not in self.keys:
            return _problem(401, "You did not pass a valid authentication token")
        match parts.path.removeprefix("/v1/").split("/"), request.method:
            case (["predictions"], "POST"):
                return self._create(request.json, request, key)
            case (["models", owner, name, "predictions"], "POST"):
                return self._create(request.json | {"model": f"{owner}/{name}"}, request, key)
            case (["models", owner, name, *rest], "GET"):
                self.looked_up.append(parts.path)
                if self.models_down:
                    return _problem(self.models_down, "Something went wrong")
                return self._about(f"{owner}/{name}", rest, key)
            case _ if self.down:
                return _problem(self.down, "Something went wrong")
            case (["predictions"], "GET"):
                return self._list(parse_qs(parts.query), key)
            case (["predictions", id], "GET"):
                return self._show(id, key)
            case (["predictions", id, "cancel"], "POST"):
                return self._cancel(id, key)
        return _problem(404, "The requested resource could not be found.")

    def _create(self, body: dict[str, Any], request: Received, key: str) -> Reply:
        with self._lock:
            self.creations += 1
            step = self.script.pop(0) if self.script else None
        if isinstance(step, Refusal) and not step.begins:
            return _problem(step.status, step.detail, step.headers)
        version = body.get("version", "")
        known = (*self.models.items(), *self.older.items())
        model = body.get("model") or next((m for m, v in known if v == version), None)
        if model is None:
            return _problem(422, "Invalid version or not permitted")
        id = secrets.token_hex(13)
        record = {
            "id": id,
            "model": model,
            "version": version or "hidden",
            "input": body["input"],
            "logs": "",
            "output": None,
            "data_removed": False,
            "error": None,
            "source": "api",
            "status": "starting",
            "created_at": _time(time.time()),
            "urls": {
                "get": f"{self.url}/v1/predictions/{id}",
                "cancel": f"{self.url}/v1/predictions/{id}/cancel",
            },
            "key": key,
            "cancel_after": request.headers.get("cancel-after"),
        }
        with self._lock:
            self.begun.append(record)
            self.webhooks[id] = body.get("webhook", "")
        if isinstance(step, Refusal):
            return _problem(step.status, step.detail, step.headers)
        hold = step.over if isinstance(step, Silence) else None
        return Reply(201, {"Content-Type": "application/json"}, _shown(record), hold)

    def _list(self, query: dict[str, list[str]], key: str) -> Reply:
        after = query.get("created_after", [""])[0]
        start = int(query.get("cursor", ["0"])[0])
        with self._lock:
            mine = [r for r in reversed(self.begun) if r["key"] == key and r["created_at"] >= after]
            page = [json.loads(_shown(record)) for record in mine[start : start + _PAGE]]
        more = f"{self.url}/v1/predictions?created_after={after}&cursor={start + _PAGE}"
        body = {"next": more if len(mine) > start + _PAGE else None, "previous": None, "results": page}
        return _json(200, body)

    def _show(self, id: str, key: str) -> Reply:
        with self._lock:
            record = self._find(id)
            if record is None or record["key"] != key:
                return _problem(404, "The requested resource could not be found.")
            return Reply(200, {"Content-Type": "application/json"}, _shown(record))

    def _cancel(self, id: str, key: str) -> Reply:
        with self._lock:
            record = self._find(id)
        if record is not None and record["key"] == key:
            self.canceled.append(id)
            if record["status"] in ("starting", "processing"):
                self.becomes(id, "canceled")
        return self._show(id, key)

    def _about(self, model: str, rest: list[str], key: str) -> Reply:
        """A model, its versions, or one of them."""
        newest = self.models.get(model)
        missing = _problem(404, "The requested resource could not be found.")
        if newest is None or self.private.get(model, key) != key:
            return missing
        versions = {id: self._version(model, id) for id in (newest, self.older.get(model, "")) if id}
        match rest:
            case []:
                return _json(200, self._model(model, newest))
            case ["versions"] if versions:
                page = {"next": None, "previous": None, "results": list(versions.values())}
                return _json(200, page)
            case ["versions", id] if id in versions:
                return _json(200, versions[id])
        return missing

    def _version(self, model: str, id: str) -> dict[str, Any]:
        schema = self.schemas.get(model, SCHEMA)
        at = _time(2e9 if id == self.models[model] else 1e9)
        return {"id": id, "created_at": at, "cog_version": "0.9.0", "openapi_schema": schema}

    def _model(self, model: str, newest: str) -> dict[str, Any]:
        owner, _, name = model.partition("/")
        return {
            "url": f"{self.url}/{model}",
            "owner": owner,
            "name": name,
            "description": "It runs elsewhere.",
            "visibility": "private" if model in self.private else "public",
            "is_official": not newest,
            "run_count": 5,
            "github_url": f"https://github.com/{model}",
            "default_example": None,
            "latest_version": self._version(model, newest or "hidden"),
        }

    def _find(self, id: str) -> dict[str, Any] | None:
        return next((record for record in self.begun if record["id"] == id), None)


SCHEMA: dict[str, Any] = {
    "openapi": "3.0.2",
    "info": {"title": "Cog", "version": "0.1.0"},
    "paths": {},
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "properties": {"text": {"type": "string", "title": "Text", "x-order": 0}},
            },
            "Output": {"type": "string", "title": "Output"},
        }
    },
}


@contextmanager
def replicate(port: int = 0) -> Iterator[Replicate]:
    """One for the length of the block."""
    with receiver(port) as found:
        yield Replicate(found)


def _time(at: float) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
    return f"{seconds}.{int(at % 1 * 1e6):06d}Z"


def _shown(record: dict[str, Any]) -> bytes:
    hidden = ("key", "cancel_after")
    return json.dumps({name: value for name, value in record.items() if name not in hidden}).encode()


def _json(status: int, body: Any) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Reply:
    body = {"title": "Error", "detail": detail, "status": status}
    return Reply(
        status, {"Content-Type": "application/problem+json", **(headers or {})}, json.dumps(body).encode()
    )
