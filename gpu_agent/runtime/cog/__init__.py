"""What a model's author imports. Standard library only, Python 3.9 and later."""

from typing import TYPE_CHECKING, Any

from cog.decorators import concurrent, streaming
from cog.exceptions import CancelationException
from cog.fields import FieldInfo, Input
from cog.opaque import Opaque
from cog.predictor import BasePredictor, BaseRunner
from cog.scope import Scope, current_scope, emit_metric
from cog.types import (
    AsyncConcatenateIterator,
    ConcatenateIterator,
    ExperimentalFeatureWarning,
    File,
    Path,
    Secret,
)

if TYPE_CHECKING:
    from cog.coder import Coder
    from cog.model import BaseModel
    from cog.remote import URLFile, URLPath

__all__ = [
    "AsyncConcatenateIterator",
    "BaseModel",
    "BasePredictor",
    "BaseRunner",
    "CancelationException",
    "Coder",
    "ConcatenateIterator",
    "ExperimentalFeatureWarning",
    "FieldInfo",
    "File",
    "Input",
    "Opaque",
    "Path",
    "Scope",
    "Secret",
    "URLFile",
    "URLPath",
    "concurrent",
    "current_scope",
    "emit_metric",
    "streaming",
]

__version__ = "0.1.0"

_LATER = {"BaseModel": "cog.model", "Coder": "cog.coder", "URLFile": "cog.remote", "URLPath": "cog.remote"}
"""Each imports a good part of the standard library: only models that use them pay."""

if not TYPE_CHECKING:  # a type checker takes any name from a module that has this

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module 'cog' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_LATER[name]), name)
