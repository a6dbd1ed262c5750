"""The ``build`` section of a ``cog.yaml``: what a model wants its interpreter to be and to have. Pure."""

import re
from dataclasses import dataclass
from typing import Any

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


class BuildRefused(Exception):
    """The section is not as it must be; the text is one line that names the key."""


@dataclass(frozen=True, slots=True)
class Build:
    """What is listed, as it is written; empty where nothing is said."""

    python_version: str = ""
    """``3.11`` or ``3.11.4``."""
    python_packages: tuple[str, ...] = ()
    """Lines of a requirements file."""
    python_requirements: str = ""
    """A requirements file, relative to the model's folder."""
    system_packages: tuple[str, ...] = ()
    commands: int = 0
    """How many there are under ``run`` and ``pre_install``."""

    @property
    def installs(self) -> bool:
        """There are Python packages to install."""
        return bool(self.python_packages or self.python_requirements)

    @property
    def minor_version(self) -> str:
        """The Python version without what follows its second part."""
        return ".".join(self.python_version.split(".")[:2])


def read_build(section: Any) -> Build:
    """The section of a parsed ``cog.yaml``; None for one without. Raises ``BuildRefused``."""
    if section is None:
        return Build()
    if not isinstance(section, dict):
        raise BuildRefused("build is not a mapping")
    requirements = section.get("python_requirements")
    if requirements is not None and not isinstance(requirements, str):
        raise BuildRefused(f"build.python_requirements is {requirements!r}, expected the name of a file")
    commands = [section.get("run") or (), section.get("pre_install") or ()]
    return Build(
        python_version=_version(section.get("python_version")),
        python_packages=_texts(section, "python_packages"),
        python_requirements=requirements or "",
        system_packages=_texts(section, "system_packages"),
        commands=sum(len(each) if isinstance(each, list) else bool(each) for each in commands),
    )


def _version(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and len(str(value)) == len("3.1"):
        # YAML reads 3.10 as the number 3.1.
        raise BuildRefused(f'build.python_version is the number {value}: write it in quotes, as "3.10"')
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | float) or not _VERSION.fullmatch(text):
        raise BuildRefused(f'build.python_version is {value!r}, expected as "3.11"')
    return text


def _texts(section: dict[Any, Any], key: str) -> tuple[str, ...]:
    found = section.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise BuildRefused(f"build.{key} is not a list of texts")
    return tuple(found)
