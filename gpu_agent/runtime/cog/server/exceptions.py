"""The exceptions of the original server; a model meets only the first."""

from cog.exceptions import CancelationException

__all__ = ["CancelationException", "FatalWorkerException", "InvalidStateException"]


class FatalWorkerException(Exception):
    """The model's process is of no more use."""


class InvalidStateException(Exception):
    """Something was asked for at the wrong time."""
