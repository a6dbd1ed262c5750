"""What a model's Python packages are made of: the lines that list them, and what these name on this disk.

Only what decides whether two environments are the same is read here; what a line means is pip's business.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gpu_agent.build_section import Build

LEFTOVERS = frozenset({"build", "dist", "__pycache__"})
"""What pip itself leaves in the folder of a local package."""

_OTHER_FILE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s+|\s*=\s*|(?<=-[rc]))(?P<file>\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|\s*=\s*)(?P<path>\S+)")
_DIRECT = re.compile(r"[A-Za-z0-9._-]+\s*(?:\[[^\]]*\])?\s*@\s*(?P<url>\S+)")


class RequirementsFailed(Exception):
    """Something that is listed is not there; the text is one line."""


def ingredients(build: Build, folder: Path) -> Iterator[bytes]:
    """Everything that the packages of a model in ``folder`` depend on here. Raises ``RequirementsFailed``."""
    for text in build.python_packages:
        yield from _line(text, folder, folder)
    if build.python_requirements:
        yield from _file(folder / build.python_requirements, folder, frozenset())


def _file(path: Path, folder: Path, above: frozenset[Path]) -> Iterator[bytes]:
    """A requirements file; those ``above`` it name it."""
    try:
        text = path.read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise RequirementsFailed(f"{path}: there is no such file") from None
    except OSError as error:
        raise RequirementsFailed(f"{path}: {error.strerror}") from None
    for line in re.sub(r"\\\r?\n", "", text).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        other = _OTHER_FILE.fullmatch(line)
        if other is None or "://" in other["file"]:
            yield from _line(line, folder, path.parent)
            continue
        named = path.parent / other["file"]
        yield line.encode("utf-8", "surrogateescape")
        if named not in above:
            yield from _file(named, folder, above | {path})


def _line(line: str, folder: Path, beside: Path) -> Iterator[bytes]:
    if not line:
        return
    yield line.encode("utf-8", "surrogateescape")
    editable = _EDITABLE.fullmatch(line)
    if editable:
        path = _local(editable["path"], folder)
        if path is not None:
            # Its sources are used where they are, so only what it depends on may ask for a new environment.
            yield os.fsencode(path.absolute())
            for name in ("pyproject.toml", "setup.cfg", "setup.py"):
                if (path / name).is_file():
                    yield from _content(path / name, name)
        return
    other = _OTHER_FILE.fullmatch(line)
    path = _local(other["file"] if other else line, beside if other else folder)
    if path is not None:
        yield from _tree(path)


def _local(line: str, folder: Path) -> Path | None:
    """The file or folder that a requirement names, if it names one of this disk."""
    direct = _DIRECT.fullmatch(line)
    text = direct["url"] if direct else line.partition(";")[0].partition(" ")[0]
    text = re.sub(r"\[[^\]]*\]$", "", text.strip())
    if text.startswith("file:"):
        return Path(unquote(urlsplit(text).path))
    if "://" in text or text.startswith("-"):
        return None
    path = folder / text
    looks_local = os.sep in text or text.startswith(".") or text.endswith((".whl", ".gz", ".zip", ".txt"))
    return path if looks_local and path.exists() else None


def _tree(path: Path) -> Iterator[bytes]:
    if path.is_file():
        yield from _content(path, path.name)
        return
    found = []
    for base, folders, files in os.walk(path):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not name.endswith(".egg-info") and name not in LEFTOVERS
        ]
        found += [Path(base, name) for name in files if not name.startswith(".")]
    for file in sorted(found):
        yield from _content(file, file.relative_to(path).as_posix())


def _content(path: Path, name: str) -> Iterator[bytes]:
    yield os.fsencode(name)
    try:
        yield path.read_bytes()
    except OSError as error:
        raise RequirementsFailed(f"{path}: {error.strerror}") from None
