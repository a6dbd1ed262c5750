"""What a runner is asked and what it answers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["succeeded", "failed", "canceled"]
Mode = Literal["predict", "train"]
"""What a runner runs for each request: the model's ``predict`` (or ``run``), or its training function."""

NEIGHBOUR = "runner_neighbour"
"""Error code of one that did nothing wrong: its process was ended because another one did not stop."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is set up."""

    schema: dict[str, Any]
    """Its OpenAPI document."""
    concurrency: int
    is_async: bool
    healthcheck: bool
    """The model has one of its own."""
    setup_logs: str
    started_at: int
    completed_at: int
    version: str = ""
    """64 hex, of a model whose version is known only now."""


class NotTaken(Exception):
    """A prediction did not run, or not for long enough to count, and is to run again; the text says why."""

    def __init__(self, reason: Literal["busy", "unavailable"], text: str) -> None:
        super().__init__(text)
        self.reason = reason


class SetupFailed(Exception):
    """The model could not be set up; the text says why.

    ``refused`` tells that trying again is of no use: the predictor itself is wrong. ``missing_module`` is the
    one that its interpreter does not have.
    """

    def __init__(
        self, reason: str, logs: str = "", *, refused: bool = False, missing_module: str | None = None
    ) -> None:
        super().__init__(reason)
        self.logs = logs
        self.refused = refused
        self.missing_module = missing_module


@dataclass(frozen=True, slots=True)
class FileOutput:
    """A file of an output, set aside until ``Runner.release``."""

    pointer: str
    """JSON pointer into the value; the value there is null."""
    path: Path
    name: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Item:
    """One yielded output."""

    value: Any
    files: tuple[FileOutput, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """What is new since the last update. Logs may have gaps, marked, when a model floods them."""

    items: tuple[Item, ...] = ()
    logs: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Only the changed ones; None means that it was removed."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a prediction ended."""

    status: Status
    output: Any = None
    """Of a model that yields, the list of its items, also when it failed midway."""
    files: tuple[FileOutput, ...] = ()
    """Pointers are into ``output``."""
    error: str | None = None
    error_code: str | None = None
    """invalid_input, invalid_output, model_error, runner_crashed, runner_defunct, runner_neighbour,
    runner_stopped, timeout."""
    logs: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    started_at: int = 0
    completed_at: int = 0
