"""A model's folder: its ``cog.yaml``, where its predictor is, and the version that its sources make."""

import ast
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_agent.build_section import Build, BuildRefused, read_build

CONFIG = "cog.yaml"
DEFAULT_REFERENCE = "predict.py:Predictor"
_REFERENCE = re.compile(r"(?P<file>[^:]+\.py)(:(?P<name>[A-Za-z_][A-Za-z0-9_]*))?")


class ModelDirError(Exception):
    """The folder is not a model; the text is one line for the person who named it."""


@dataclass(frozen=True, slots=True)
class ModelDir:
    """What is known of a model before its code is loaded."""

    path: Path
    """Absolute."""
    predict_ref: str
    """File, relative to ``path``, and name: ``predict.py:Predictor``; without a name the usual ones count."""
    concurrency: int
    """Predictions that one runner may have at the same time."""
    version: str
    """64 hex; empty when nobody asked for it."""
    train_ref: str = ""
    """What trains it, in the same form; empty when nothing does."""
    build: Build = field(default_factory=Build)
    """What it wants its interpreter to be and to have."""

    @classmethod
    def read(
        cls, path: Path, *, predict_ref: str = "", train_ref: str = "", versioned: bool = True
    ) -> "ModelDir":
        """Read the folder. Blocks on the disk. Raises ``ModelDirError``.

        The two references win over what ``cog.yaml`` says; with ``predict_ref`` there need not be one.
        """
        folder = path.absolute()
        if not folder.is_dir():
            raise ModelDirError(f"{path}: there is no such folder")
        where = folder / CONFIG
        config = _config_of(folder, required=not predict_ref)
        said = _concurrency(config.get("concurrency"), where)
        if predict_ref:
            reference = _checked(predict_ref, "the predictor", folder, folder)
        else:
            key = "run" if "run" in config and "predict" not in config else "predict"
            reference = _reference(config, key, where)
        if train_ref:
            train = _checked(train_ref, "the trainer", folder, folder)
        else:
            train = _reference(config, "train", where) if config.get("train") is not None else ""
        most = said or decorated_concurrency(folder, reference)
        try:
            build = read_build(config.get("build"))
        except BuildRefused as error:
            raise ModelDirError(f"{where}: {error}") from None
        return cls(folder, reference, most, version_of(folder) if versioned else "", train, build)


def _config_of(folder: Path, *, required: bool) -> dict[str, Any]:
    where = folder / CONFIG
    try:
        return _read_config(where.read_bytes(), where)
    except FileNotFoundError:
        if required and not (folder / "predict.py").is_file():
            raise ModelDirError(
                f"{folder}: has neither {CONFIG} nor predict.py, so there is nothing to run"
            ) from None
        return {"predict": "predict.py"}
    except OSError as error:
        raise ModelDirError(f"{where}: {error.strerror}") from None


def _read_config(text: bytes, where: Path) -> dict[str, Any]:
    import yaml  # which takes as long as all else that is imported here, and many folders have none

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
    return config


def _reference(config: dict[str, Any], key: str, where: Path) -> str:
    reference = config.get(key)
    if reference is None:
        raise ModelDirError(f'{where}: has no {key} key; add {key}: "{DEFAULT_REFERENCE}"')
    # A model may be served without the code that trains it.
    return _checked(reference, key, where.parent, where, there=key != "train")


def _checked(reference: Any, what: str, folder: Path, where: Path, *, there: bool = True) -> str:
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise ModelDirError(f'{where}: {what} is {reference!r}, expected as "{DEFAULT_REFERENCE}"')
    file = reference.partition(":")[0]
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise ModelDirError(f"{where}: {what} names {file}, which is outside the model's folder")
    if there and not (folder / file).is_file():
        raise ModelDirError(f"{folder}: {where.name} names {reference}, but there is no {file}")
    return reference


def _concurrency(section: Any, where: Path) -> int:
    """0 when nothing is said."""
    if section is None:
        return 0
    if not isinstance(section, dict):
        raise ModelDirError(f"{where}: concurrency is not a mapping, expected max: N in it")
    most = section.get("max", 1)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ModelDirError(f"{where}: concurrency.max is {most!r}, expected a whole number of at least 1")
    return most


def decorated_concurrency(folder: Path, reference: str) -> int:
    """What ``@concurrent(max=N)`` on the predictor says, read from the source without running it; 1 when that
    cannot be known. Slots are offered before the model is loaded."""
    file, _, name = reference.partition(":")
    try:
        tree = ast.parse((folder / file).read_bytes())
    except (SyntaxError, ValueError, OSError):
        return 1  # perhaps of another Python: the runner will say what is wrong
    for node in tree.body:
        if name and getattr(node, "name", None) != name:
            continue
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        for function in functions:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in function.decorator_list:
                    found = _max_of(decorator)
                    if found:
                        return found
    return 1


def _max_of(decorator: ast.expr) -> int:
    """N of ``concurrent(max=N)`` or ``cog.concurrent(max=N)``; 0 for anything else."""
    if not isinstance(decorator, ast.Call):
        return 0
    function = decorator.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    for keyword in decorator.keywords if name == "concurrent" else ():
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        if keyword.arg == "max" and isinstance(value, int) and value > 0:
            return value
    return 0


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
