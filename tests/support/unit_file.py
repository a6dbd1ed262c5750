"""Reads a unit of systemd as far as ours go, and starts its program as systemd would: a clean environment."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import COGFLARE, Command

UNITS_OF_TIME = {"": 1, "s": 1, "min": 60, "h": 3600}
INSTALLED = "/opt/cogflare/bin/cogflare"
"""Where the units look for the command; here it is the one of the tests."""


@dataclass(frozen=True)
class Unit:
    """A unit's settings, in their order; a setting may be there several times."""

    settings: tuple[tuple[str, str, str], ...]
    """Section, name, value."""

    @classmethod
    def read(cls, path: Path) -> "Unit":
        section, found = "", []
        for line in path.read_text("utf-8").splitlines():
            if re.fullmatch(r"\s*|[#;].*", line):
                continue
            if header := re.fullmatch(r"\[(\w+)\]", line):
                section = header[1]
                continue
            name, equals, value = line.partition("=")
            assert equals, line
            found.append((section, name, value))
        return cls(tuple(found))

    def all(self, name: str) -> list[str]:
        return [value for _, each, value in self.settings if each == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def seconds(self, name: str) -> float:
        found = re.fullmatch(r"(\d+)(\w*)", self.one(name))
        assert found is not None
        return int(found[1]) * UNITS_OF_TIME[found[2]]

    def start(self, folders: Mapping[str, str], files: Mapping[str, Path]) -> Command:
        """Run ExecStart. ``folders`` are what the specifiers stand for, ``files`` the environment files by
        their name in the unit, specifiers replaced."""

        def filled(text: str) -> str:
            return re.sub(r"%(\w)", lambda found: folders[found[1]], text)

        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        for value in self.all("Environment"):
            environment.update(_assignments(shlex.split(filled(value))))
        for name in self.all("EnvironmentFile"):
            lines = files[filled(name)].read_text("utf-8").splitlines()
            environment.update(_assignments([line for line in lines if line and not line.startswith("#")]))
        program, *arguments = shlex.split(filled(self.one("ExecStart")))
        assert program == INSTALLED
        given = [f"{name}={value}" for name, value in environment.items()]
        return Command("-i", *given, COGFLARE, *arguments, program="/usr/bin/env")


def _assignments(parts: list[str]) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in parts)
