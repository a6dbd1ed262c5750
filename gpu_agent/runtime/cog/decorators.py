"""Decorators of ``predict`` and ``run``."""

from typing import Any, Callable, Optional, TypeVar, overload

_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def streaming(function: _Function) -> _Function: ...
@overload
def streaming() -> Callable[[_Function], _Function]: ...
def streaming(function: Optional[Any] = None) -> Any:
    """Say in the model's document that its output streams. Everything that yields is streamed in any case."""
    if function is None:
        return streaming
    function.__cog_streaming__ = True
    return function


@overload
def concurrent(function: _Function) -> _Function: ...
@overload
def concurrent(*, max: int = 1) -> Callable[[_Function], _Function]: ...
def concurrent(function: Optional[Any] = None, *, max: int = 1) -> Any:  # noqa: A002 - the name is the API
    """Run up to ``max`` predictions at a time, on one event loop; what ``concurrency.max`` in cog.yaml does.

    Raises ``ValueError`` when ``max`` is no number of at least 1, ``TypeError`` when it is more than 1 and
    the function is not ``async``.
    """
    if isinstance(max, bool) or not isinstance(max, int) or max < 1:
        raise ValueError(f"concurrent(max={max!r}): max is a whole number of at least 1")

    def mark(function: Any) -> Any:
        if not callable(function):
            raise TypeError(f"concurrent({function!r}) has no function: write @concurrent(max=N) above it")
        if max > 1 and not _is_async(function):
            raise TypeError(f"concurrent(max={max}) needs an `async def {function.__name__}`")
        function.__cog_concurrency__ = max
        return function

    return mark if function is None else mark(function)


def _is_async(function: Any) -> bool:
    while function is not None:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & (0x80 | 0x200):  # a coroutine, an asynchronous generator
            return True
        function = getattr(function, "__wrapped__", None)
    return False
