"""The parameters of a function, without the cost of ``inspect``; and the function behind its decorators."""

import types
from typing import Any

from cog.fields import MISSING

VARARGS, VARKEYWORDS, GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x04, 0x08, 0x20, 0x80, 0x200


class Parameters:
    """``self`` of a method is left out."""

    def __init__(self, function: Any, is_method: bool) -> None:
        code = function.__code__
        positional = list(code.co_varnames[: code.co_argcount])
        end = code.co_argcount + code.co_kwonlyargcount
        keyword_only = list(code.co_varnames[code.co_argcount : end])
        defaults = dict(zip(reversed(positional), reversed(function.__defaults__ or ())))
        defaults.update(function.__kwdefaults__ or {})
        self.has_self = not is_method or bool(positional)
        skipped = 1 if is_method and positional else 0
        self.positional_only = positional[skipped : code.co_posonlyargcount]
        self.named = [(name, defaults.get(name, MISSING)) for name in positional[skipped:] + keyword_only]
        variadic = list(code.co_varnames[end:])
        self.star = variadic.pop(0) if code.co_flags & VARARGS else None
        self.double_star = variadic.pop(0) if code.co_flags & VARKEYWORDS else None


def unwrap(function: Any) -> Any:
    """The author's function: behind ``__wrapped__``, or in the closure of a decorator without it."""
    while True:
        if hasattr(function, "__wrapped__"):
            function = function.__wrapped__
            continue
        if isinstance(function, (staticmethod, classmethod)):
            function = function.__func__
            continue
        wrapped = _wrapped_by_closure(function)
        if wrapped is None:
            return function
        function = wrapped


def _wrapped_by_closure(function: Any) -> Any:
    """A function that takes anything and holds just one other is a decorator's."""
    if not isinstance(function, types.FunctionType) or not function.__closure__:
        return None
    flags = function.__code__.co_flags
    if not (flags & VARARGS and flags & VARKEYWORDS) or function.__annotations__:
        return None
    held = []
    for cell in function.__closure__:
        try:
            if isinstance(cell.cell_contents, types.FunctionType):
                held.append(cell.cell_contents)
        except ValueError:
            pass  # a cell that is not filled yet
    return held[0] if len(held) == 1 else None


def mark_of(function: Any, name: str) -> Any:
    """What a decorator of ours has noted on a function, under whatever other decorators."""
    while function is not None:
        found = getattr(function, name, None)
        if found is not None:
            return found
        function = getattr(function, "__wrapped__", None) or _wrapped_by_closure(function)
    return None
