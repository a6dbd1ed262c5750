"""Errors of the coordinator package, as its callers see them.

CoordinatorError
└── Unavailable         the answer is unknown: repeat the same call (HTTP 503)
    ├── NoRoom          all coordinators that memory may hold are busy (HTTP 503 models_full)
    └── NoSuchObject    the control store has no such object: nothing of it can be asked for (HTTP 404)
"""


class CoordinatorError(Exception):
    """Base of this package's errors."""


class Unavailable(CoordinatorError):
    """The call may or may not have happened: repeat it, it is safe. ``retry_after_s`` says when."""

    def __init__(self, detail: str, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class NoRoom(Unavailable):
    """As many objects are in memory as may be, and none of them can leave it now. Nothing was done."""


class NoSuchObject(Unavailable):
    """No object has this number now. What asks for one that there must be takes it as unavailable."""
