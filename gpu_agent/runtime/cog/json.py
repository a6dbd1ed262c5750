"""Values as JSON, as the first generation's helpers made them."""

import enum
import os
import pathlib
from typing import Any, Callable


def make_encodeable(obj: Any) -> Any:
    """The same in dicts, lists and plain values; files stay paths. What is unknown stays what it is."""
    if isinstance(obj, enum.Enum):
        return obj.value
    if isinstance(obj, dict):
        return {key: make_encodeable(value) for key, value in obj.items()}
    if isinstance(obj, os.PathLike):
        return pathlib.Path(obj)
    for method in ("model_dump", "dict"):
        if not isinstance(obj, type) and callable(getattr(obj, method, None)):
            return make_encodeable(getattr(obj, method)())
    if hasattr(obj, "__dataclass_fields__") and not isinstance(obj, type):
        return {name: make_encodeable(getattr(obj, name)) for name in obj.__dataclass_fields__}
    if hasattr(obj, "isoformat"):
        return obj.isoformat()
    if hasattr(obj, "tolist"):
        return make_encodeable(obj.tolist())
    if hasattr(obj, "__iter__") and not isinstance(obj, (str, bytes)) and not hasattr(obj, "read"):
        return [make_encodeable(value) for value in obj]
    return obj


def upload_files(obj: Any, upload_file: Callable[[Any], str]) -> Any:
    """The same with the URL that ``upload_file`` makes of each open file or path in it."""
    if isinstance(obj, dict):
        return {key: upload_files(value, upload_file) for key, value in obj.items()}
    if isinstance(obj, list):
        return [upload_files(value, upload_file) for value in obj]
    if isinstance(obj, os.PathLike):
        with open(obj, "rb") as file:
            return upload_file(file)
    return upload_file(obj) if hasattr(obj, "read") else obj
