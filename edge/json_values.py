"""The strings in a JSON value, at any depth. Pure."""

from collections.abc import Callable, Iterator
from typing import Any


def strings_of(value: Any) -> Iterator[str]:
    """Each string that is a value; keys are none."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())


def replaced(value: Any, other: Callable[[str], str | None]) -> Any:
    """The value with those of its strings replaced for which ``other`` has something; keys stay.

    Raises RecursionError.
    """
    if isinstance(value, str):
        return other(value) or value
    if isinstance(value, list):
        return [replaced(item, other) for item in value]
    if isinstance(value, dict):
        return {name: replaced(item, other) for name, item in value.items()}
    return value
