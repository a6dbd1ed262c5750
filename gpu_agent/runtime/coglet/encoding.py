"""JSON of whatever a model may return."""

import math
import sys
from typing import Any, Callable, Dict, Optional

from cog.types import Secret

from coglet.files import Files

LARGEST_INTEGER = 2**64 - 1
SMALLEST_INTEGER = -(2**63)


class BadOutput(Exception):
    """A value that cannot be an output; the text says where it is and why."""


def bad(pointer: str, reason: str) -> BadOutput:
    return BadOutput(f"output{pointer}: {reason}")


def mismatch(pointer: str, expected: str, value: Any) -> BadOutput:
    return bad(pointer, f"expected {expected}, as predict() is annotated, but got {type(value).__name__}")


def below(pointer: str, key: Any) -> str:
    """The JSON pointer of a member."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def encode_any(value: Any, pointer: str, files: Files, take_files: bool = True) -> Any:
    """The JSON value of whatever a model may return. Raises ``BadOutput``."""
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise bad(pointer, f"{float(value)} is not a number in JSON")
        return float(value)
    if hasattr(value, "_value_") and hasattr(kind, "__members__"):
        return encode_any(value.value, pointer, files, take_files)
    if isinstance(value, int):
        if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise bad(pointer, "the integer does not fit into 64 bits")
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Secret):
        return Secret.MASK
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise bad(pointer, "bytes cannot be an output: write them to a file and return its Path")
    if files.is_file(value):
        if not take_files:
            raise bad(
                pointer, f"got the file {kind.__name__} where predict() is annotated otherwise; annotate Path"
            )
        return place(value, pointer, files)
    coder = coder_of(kind)
    if coder is not None:
        return encode_any(coder.encode(value), pointer, files)
    special = _SPECIAL.get((kind.__module__.partition(".")[0], kind.__name__))
    if special is not None:
        return encode_any(special(value), pointer, files, take_files)
    if hasattr(value, "tolist") and (hasattr(value, "dtype") or hasattr(value, "typecode")):
        return encode_any(value.tolist(), pointer, files, take_files)
    fields = fields_of(value)
    if fields is not None:
        return encode_mapping(fields, pointer, lambda _key, each, place: encode_any(each, place, files))
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "__iter__"):
        return [encode_any(element, f"{pointer}/{index}", files) for index, element in enumerate(value)]
    raise bad(pointer, f"{kind.__module__}.{kind.__qualname__} has no form in JSON")


_SPECIAL: Dict[Any, Callable[[Any], Any]] = {
    ("decimal", "Decimal"): float,
    ("fractions", "Fraction"): float,
    ("uuid", "UUID"): str,
    ("datetime", "timedelta"): lambda value: value.total_seconds(),
    ("re", "Pattern"): lambda value: value.pattern,
    ("ipaddress", "IPv4Address"): str,
    ("ipaddress", "IPv6Address"): str,
    ("pydantic", "SecretStr"): str,
    ("pydantic", "AnyUrl"): str,
    ("pydantic", "HttpUrl"): str,
}
"""By module and name, as to import them for a comparison would cost every model."""


def coder_of(kind: Any) -> Any:
    """The coder that the author registered for a type, or None. Costs nothing when none was.

    What the coders of ``cog.coder`` itself know is understood without them.
    """
    module = sys.modules.get("cog.coder")
    coder = None if module is None else module.Coder.lookup(kind)
    return None if type(coder).__module__.startswith("cog.coder.") else coder


def place(value: Any, pointer: str, files: Files) -> None:
    """Set a file aside; it is null in the output. Raises ``BadOutput``."""
    try:
        files.place(value, pointer)
    except OSError as error:
        raise bad(pointer, f"the output file cannot be read: {error}") from None


def fields_of(value: Any) -> Optional[Dict[Any, Any]]:
    """The members of anything that is like an object of JSON; None when it is not."""
    if isinstance(value, dict):
        return value
    if isinstance(value, type):
        return None
    if hasattr(value, "__dataclass_fields__"):
        # Neither what belongs to the class nor what was only for its making.
        fields = value.__dataclass_fields__.items()
        return {name: getattr(value, name) for name, each in fields if each._field_type.name == "_FIELD"}
    if hasattr(value, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}
    for method in ("model_dump", "dict", "_asdict"):
        if callable(getattr(value, method, None)):
            found = getattr(value, method)()
            return found if isinstance(found, dict) else None
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {key: value[key] for key in value.keys()}  # noqa: SIM118 - a mapping of any class
    return None


def encode_mapping(fields: Dict[Any, Any], pointer: str, encode: Callable[[Any, Any, str], Any]) -> Any:
    """An object of JSON; ``encode`` gets key, value and pointer of each member. Raises ``BadOutput``."""
    encoded = {}
    for key, value in fields.items():
        name = key if type(key) is str else _name(key, pointer)
        encoded[name] = encode(key, value, below(pointer, name))
    return encoded


def _name(key: Any, pointer: str) -> str:
    """A key of an object as JSON has it: 1.5 is "1.5", None is "null"."""
    value = getattr(key, "_value_", key)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        value = value.tolist()
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(int(value) if isinstance(value, int) else float(value))
    raise bad(pointer, f"a key is {type(key).__name__}, not str")
