"""``Input``: what is known of one parameter of ``predict``."""

from typing import Any, Callable, Iterable, Optional, Union

_Number = Union[int, float]
_Accept = Union[str, Iterable[str]]


class Missing:
    """The default of an input that has none."""

    def __repr__(self) -> str:
        return "<missing>"


MISSING = Missing()


class FieldInfo:
    """What ``Input`` was given. Whether it makes sense is judged when the predictor is loaded."""

    __slots__ = (
        "accept",
        "choices",
        "default",
        "default_factory",
        "deprecated",
        "description",
        "ge",
        "le",
        "max_length",
        "min_length",
        "regex",
    )

    def __init__(
        self,
        default: Any = MISSING,
        *,
        description: Optional[str] = None,
        ge: Optional[_Number] = None,
        le: Optional[_Number] = None,
        min_length: Optional[int] = None,
        max_length: Optional[int] = None,
        regex: Optional[str] = None,
        choices: Optional[Iterable[Any]] = None,
        deprecated: Optional[bool] = None,
        default_factory: Optional[Callable[[], Any]] = None,
        accept: Optional[_Accept] = None,
    ) -> None:
        # An ellipsis is how pydantic writes "required".
        self.default = MISSING if default is ... else _plain(default)
        self.default_factory = default_factory
        self.description = description
        self.ge = _plain(ge)
        self.le = _plain(le)
        self.min_length = _plain(min_length)
        self.max_length = _plain(max_length)
        self.regex = regex
        # A list of its own: a dict's view or a generator is read once, here.
        self.choices = None if choices is None else [_plain(choice) for choice in choices]
        self.deprecated = deprecated
        self.accept = accept if accept is None or isinstance(accept, str) else list(accept)


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays as Python's own; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") and hasattr(value, "dtype") else value


def Input(  # noqa: N802 - the name is the API
    default: Any = MISSING,
    *,
    description: Optional[str] = None,
    ge: Optional[_Number] = None,
    le: Optional[_Number] = None,
    min_length: Optional[int] = None,
    max_length: Optional[int] = None,
    regex: Optional[str] = None,
    choices: Optional[Iterable[Any]] = None,
    deprecated: Optional[bool] = None,
    default_factory: Optional[Callable[[], Any]] = None,
    accept: Optional[_Accept] = None,
) -> Any:
    """Describe one input: ``prompt: str = Input(description="What to draw", max_length=200)``.

    Without a default the input is required, unless its type is ``Optional``. A mutable default is copied for
    each prediction; ``default_factory`` is called for each instead. ``ge`` and ``le`` are for numbers;
    ``min_length``, ``max_length`` and ``regex`` (searched anywhere in the text) for strings; ``choices`` for
    strings and integers. On a list they hold for each element. ``accept`` names the kinds of file that an
    input takes, as ``"image/*"`` or ``[".wav", ".mp3"]``: a hint for clients, not a check. Typed as ``Any``
    so that it fits each annotation.
    """
    return FieldInfo(
        default,
        description=description,
        ge=ge,
        le=le,
        min_length=min_length,
        max_length=max_length,
        regex=regex,
        choices=choices,
        deprecated=deprecated,
        default_factory=default_factory,
        accept=accept,
    )
