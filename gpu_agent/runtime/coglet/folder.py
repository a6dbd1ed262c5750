"""The working directory shared with the parent: which file says what. Every file appears by a rename."""

import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

from coglet.drafts import Drafts
from coglet.scratch import Scratch

OPENAPI = "openapi.json"
SETUP_RESULT = "setup-result.json"
STOP = "stop"
_REQUEST, _RESPONSE, _CANCEL, _EVENTS, _JSON = "request-", "response-", "cancel-", "events-", ".json"
LONGEST_ID = 128
_ID = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_ID - 1}}}")

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(document: Any) -> bytes:
    """JSON in UTF-8. Half a surrogate pair, which no UTF-8 has, becomes a question mark."""
    return _ENCODER.encode(document).encode("utf-8", "replace")


class Seen(NamedTuple):
    """What lies in the directory for coglet."""

    requests: List[str]
    """Ids, oldest first."""
    cancels: List[str]
    stop: bool
    rejected: bool
    """A request whose id cannot be one was answered."""


class WorkFolder:
    """Reads what the parent wrote and writes what it waits for."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        for name in ("tmp", "out", "logs"):
            os.makedirs(os.path.join(self.path, name), exist_ok=True)
        temporary = os.path.join(self.path, "tmp")
        self.scratch = Scratch(temporary)
        self._drafts = Drafts(temporary)

    def look(self) -> Seen:
        requests = []
        cancels = []
        stop = rejected = False
        for name in os.listdir(self.path):
            if name.startswith(_REQUEST) and name.endswith(_JSON):
                prediction = name[len(_REQUEST) : -len(_JSON)]
                if valid_id(prediction):
                    requests.append(prediction)
                elif self.take_request(prediction) is not None:
                    self._reject(prediction)
                    rejected = True
            elif name.startswith(_CANCEL):
                cancels.append(name[len(_CANCEL) :])
            elif name == STOP:
                stop = True
        if len(requests) > 1:
            requests.sort(key=self._age)
        return Seen(requests, cancels, stop, rejected)

    def _reject(self, prediction: str) -> None:
        error = f"the id is not one: at most {LONGEST_ID} letters, digits, dots, dashes and underscores"
        document = {
            "status": "failed",
            "output": None,
            "error": error,
            "error_code": "invalid_input",
            "logs": "",
        }
        self.write_response(prediction, document)

    def _age(self, prediction: str) -> int:
        try:
            return os.stat(os.path.join(self.path, _REQUEST + prediction + _JSON)).st_mtime_ns
        except OSError:
            return 0

    def take_request(self, prediction: str) -> Optional[bytes]:
        """The request's bytes, once; None when the parent has taken it back."""
        try:
            return self._drafts.take_over(f"{self.path}/{_REQUEST}{prediction}{_JSON}")
        except FileNotFoundError:
            return None

    def take_cancel(self, prediction: str) -> bool:
        """Whether the parent has asked to cancel this one since the last call."""
        try:
            os.unlink(f"{self.path}/{_CANCEL}{prediction}")
        except FileNotFoundError:
            return False
        return True

    def write_openapi(self, document: Dict[str, Any]) -> None:
        self._write(OPENAPI, document)

    def write_setup_result(self, document: Dict[str, Any]) -> None:
        self._write(SETUP_RESULT, document)

    def write_response(self, prediction: str, document: Dict[str, Any]) -> int:
        """The length of what was written."""
        return self._write(_RESPONSE + prediction + _JSON, document)

    def write_health(self, ident: str, document: Dict[str, Any]) -> None:
        self._write(f"health-{ident}{_JSON}", document)

    def _write(self, name: str, document: Dict[str, Any]) -> int:
        data = encode(document)
        self._drafts.take().write(data, f"{self.path}/{name}")
        return len(data)

    def prepare(self) -> None:
        """Do for the next answer what can be done before it is there."""
        self._drafts.prepare()

    def close(self) -> None:
        """Leave nothing empty behind."""
        self.scratch.close()
        self._drafts.close()

    @property
    def bell_path(self) -> str:
        return os.path.join(self.path, "bell")

    @property
    def healthcheck_path(self) -> str:
        return os.path.join(self.path, "healthcheck")

    def events_path(self, prediction: str) -> str:
        return f"{self.path}/{_EVENTS}{prediction}.jsonl"

    def log_path(self, prediction: str) -> str:
        return f"{self.path}/logs/{prediction}"

    def output_path(self, prediction: str) -> str:
        return f"{self.path}/out/{prediction}"


def valid_id(prediction: str) -> bool:
    """Whether an id is safe in every file name made of it."""
    return _ID.fullmatch(prediction) is not None
