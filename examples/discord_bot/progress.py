"""How far a prediction is, from the events of its stream."""

from typing import Any

from server import Event, data_of

WAITING = {
    "no_workers": "Waiting: no machine is connected",
    "model_loading": "Waiting: a machine is loading the model",
}


class Progress:
    """``picture`` is the URL of the newest picture: of a prediction that has succeeded, the finished one."""

    def __init__(self) -> None:
        self.picture = ""
        self.canceling = False
        self._status = "starting"
        self._queue: dict[str, Any] = {}
        self._part = 0.0

    def take(self, event: Event) -> None:
        if event.name == "status":
            self._status = data_of(event)["status"]
            if self._status == "starting":
                self._part = 0.0
        elif event.name == "queue":
            self._queue = data_of(event)
        elif event.name == "progress":
            self._part = data_of(event)["percentage"]
        elif event.name == "output" and event.data.startswith(("https://", "http://")):
            self.picture = event.data

    def line(self) -> str:
        """One line for the person who waits."""
        if self.canceling:
            return "Canceling …"
        if self._status == "starting":
            return self._waiting()
        done = round(self._part * 20)
        return f"`{'█' * done}{'░' * (20 - done)}` {self._part:.0%}"

    def _waiting(self) -> str:
        if not self._queue:
            return "Waiting …"
        reason = WAITING.get(self._queue["reason"], "Waiting")
        return f"{reason}, place {self._queue['position']} of {self._queue['of']}"
