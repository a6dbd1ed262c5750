"""A model's folder: its ``cog.yaml``, where its predictor is, and the version that its sources make."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIG = "cog.yaml"
DEFAULT_REFERENCE = "predict.py:Predictor"
_REFERENCE = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


class ModelDirError(Exception):
    """The folder is not a model; the text is one line for the person who named it."""


@dataclass(frozen=True, slots=True)
class ModelDir:
    """What is known of a model before its code is loaded."""

    path: Path
    """Absolute."""
    predict_ref: str
    """File, relative to ``path``, and name: ``predict.py:Predictor``."""
    concurrency: int
    """Predictions that one runner may have at the same time."""
    version: str
    """64 hex."""

    @classmethod
    def read(cls, path: Path) -> "ModelDir":
        """Read the folder. Blocks on the disk. Raises ``ModelDirError``."""
        folder = path.absolute()
        if not folder.is_dir():
            raise ModelDirError(f"{path}: there is no such folder")
        try:
            text = (folder / CONFIG).read_bytes()
        except FileNotFoundError:
            text = None
        except OSError as error:
            raise ModelDirError(f"{folder / CONFIG}: {error.strerror}") from None
        if text is None:
            if not (folder / "predict.py").is_file():
                raise ModelDirError(
                    f"{path}: has neither {CONFIG} nor predict.py, so there is nothing to run"
                )
            reference, concurrency = DEFAULT_REFERENCE, 1
        else:
            reference, concurrency = _read_config(text, folder / CONFIG)
        file = reference.partition(":")[0]
        if not (folder / file).is_file():
            raise ModelDirError(f"{path}: {CONFIG} names {reference}, but there is no {file}")
        return cls(folder, reference, concurrency, version_of(folder))


def _read_config(text: bytes, where: Path) -> tuple[str, int]:
    try:
        config: Any = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ModelDirError(f"{where}{line}: {error.problem or error.context or 'is not YAML'}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelDirError(f"{where}: is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ModelDirError(f"{where}: is not a mapping of keys to values")
    reference = config.get("predict")
    if reference is None:
        raise ModelDirError(f'{where}: has no predict key; add predict: "{DEFAULT_REFERENCE}"')
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise ModelDirError(f'{where}: predict is {reference!r}, expected as "{DEFAULT_REFERENCE}"')
    file = reference.partition(":")[0]
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise ModelDirError(f"{where}: predict names {file}, which is outside the model's folder")
    return reference, _concurrency(config.get("concurrency"), where)


def _concurrency(section: Any, where: Path) -> int:
    if section is None:
        return 1
    if not isinstance(section, dict):
        raise ModelDirError(f"{where}: concurrency is not a mapping, expected max: N in it")
    most = section.get("max", 1)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ModelDirError(f"{where}: concurrency.max is {most!r}, expected a whole number of at least 1")
    return most


def version_of(folder: Path) -> str:
    """SHA-256, in hex, over ``cog.yaml`` and each ``*.py`` outside hidden and cache folders, by sorted path.

    Of each file the digest takes its path relative to the folder with slashes, a zero byte, the length of its
    content as decimal, a zero byte, and the content. Raises ``ModelDirError`` for a file that cannot be read.
    """
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in files:
            path = Path(base, name)
            if (name.endswith(".py") and not name.startswith(".")) or path == folder / CONFIG:
                found.append((path.relative_to(folder).as_posix(), path))
    digest = hashlib.sha256()
    for relative, path in sorted(found):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelDirError(f"{path}: {error.strerror}") from None
        digest.update(os.fsencode(relative) + b"\0" + str(len(content)).encode() + b"\0" + content)
    return digest.hexdigest()
