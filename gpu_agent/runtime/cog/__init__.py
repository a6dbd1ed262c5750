"""What a model's author imports. Standard library only, Python 3.9 and later."""

from typing import TYPE_CHECKING, Any

from cog.exceptions import CancelationException
from cog.fields import FieldInfo, Input
from cog.predictor import BasePredictor
from cog.scope import Scope, current_scope
from cog.types import AsyncConcatenateIterator, ConcatenateIterator, Path, Secret

if TYPE_CHECKING:
    from cog.model import BaseModel

__all__ = [
    "AsyncConcatenateIterator",
    "BaseModel",
    "BasePredictor",
    "CancelationException",
    "ConcatenateIterator",
    "FieldInfo",
    "Input",
    "Path",
    "Scope",
    "Secret",
    "current_scope",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Dataclasses import a third of the standard library's introspection: only models that use them pay.
    if name == "BaseModel":
        from cog.model import BaseModel

        return BaseModel
    raise AttributeError(f"module 'cog' has no attribute {name!r}")
