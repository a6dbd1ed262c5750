"""What each snapshot of a prediction has that the ones before did not. Pure.

A Cog server always sends everything so far, and the newest generation sends it out of order: what is shorter
than what was seen is old.
"""

from typing import Any

from gpu_agent.container.answers import Snapshot

_ABSENT = object()


class Growth:
    """Of one prediction."""

    def __init__(self) -> None:
        self.logs = ""
        """The longest text seen."""
        self.items = 0
        """How many yielded outputs were taken."""
        self.metrics: dict[str, Any] = {}

    def take_logs(self, text: str) -> str:
        """The new end of the text."""
        if not text.startswith(self.logs):
            return ""  # older, or blanked at the end, as the newest generation does when it failed
        fresh, self.logs = text[len(self.logs) :], text
        return fresh

    def new_items(self, output: Any) -> list[Any]:
        """Those of a model that yields that were not taken yet."""
        return output[self.items :] if isinstance(output, list) else []

    def take_metrics(self, snapshot: Snapshot) -> dict[str, Any]:
        """The changed ones."""
        changed = {
            name: value
            for name, value in snapshot.metrics.items()
            if self.metrics.get(name, _ABSENT) != value
        }
        self.metrics.update(changed)
        return changed
