"""How a prediction of the command line ended."""

from dataclasses import dataclass
from typing import Any

from edge.exits import ExitCode


@dataclass(frozen=True, slots=True)
class Ending:
    """What is left to print, and the exit code."""

    code: int
    problem: str = ""
    """One line, when it did not succeed."""
    document: dict[str, Any] | None = None
    """The prediction; None when it never began."""


def ending_of(document: dict[str, Any], interrupted: int) -> Ending:
    """The ending of a terminal prediction; ``interrupted`` is the code of the signal that came, or 0."""
    if document["status"] == "succeeded":
        return Ending(ExitCode.DONE, document=document)
    if document["status"] == "failed":
        return Ending(ExitCode.FAILED, f"the prediction failed: {document.get('error')}", document)
    return Ending(interrupted or ExitCode.FAILED, "the prediction was canceled", document)
