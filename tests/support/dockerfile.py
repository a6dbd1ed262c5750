"""Carries out a Dockerfile below a folder, with this machine in the place of the base image."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    stage: str
    """Name of the stage; empty for the last one."""
    word: str
    flags: Mapping[str, str]
    rest: str


def instructions(path: Path) -> Iterator[Instruction]:
    """What the file says, in its order, with continued lines joined."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    stage = ""
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        flags = {}
        while match := re.match(r"\s*--([\w-]+)=(\S+)\s+", rest):
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        if word == "FROM":
            stage = rest.rpartition(" AS ")[2] if " AS " in rest else ""
        yield Instruction(stage, word, flags, rest.strip())


@dataclass
class Built:
    """An image's folders below ``root``, and what it starts."""

    root: Path
    here: Mapping[str, str]
    """A path of the image -> the one of this machine that stands for it."""
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    signal: str = ""

    def mine(self, text: str) -> str:
        """The text with paths of the image as they are here."""
        paths = "|".join(map(re.escape, sorted(self.here, key=len, reverse=True)))
        return re.sub(rf"(?<![\w./-])({paths})(?![\w.-])", lambda found: self.here[found[1]], text)

    def variables(self) -> dict[str, str]:
        """The environment that a process of the image has here."""
        return {"PATH": f"{self.mine('/usr/local/bin')}:/usr/bin:/bin", **self.environment}

    def carry_out(
        self, step: Instruction, contexts: Mapping[str, Path], *, build: Mapping[str, str] | None = None
    ) -> None:
        """One instruction; ``build`` are variables of this machine that only the build has."""
        match step.word:
            case "ENV":
                for part in shlex.split(self.mine(step.rest)):
                    name, _, value = part.partition("=")
                    self.environment[name] = value
            case "COPY":
                source, target = step.rest.split()
                origin = contexts.get(step.flags.get("from", ""))
                if origin is not None:  # else of a stage that has the same root
                    shutil.copytree(origin / source, self.mine(target), dirs_exist_ok=True)
            case "RUN":
                done = subprocess.run(
                    ["sh", "-c", self.mine(step.rest)],
                    env={**self.variables(), **(build or {})},
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
                assert done.returncode == 0, f"{step.rest}\n{done.stdout}{done.stderr}"
            case "ENTRYPOINT":
                self.entrypoint = json.loads(step.rest)
            case "CMD":
                self.command = json.loads(step.rest)
            case "STOPSIGNAL":
                self.signal = step.rest
            case "FROM" | "ARG" | "USER" | "WORKDIR" | "VOLUME":
                pass  # this machine is the base, and its user the user
            case _:
                raise AssertionError(f"what is {step.word}?")


def let_through(ignore: Path, context: Path, target: Path) -> Path:
    """Copy what a .dockerignore that excludes all (``*``) and lets names through (``!name``) leaves."""
    patterns = [line for line in ignore.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert patterns[0] == "*"
    target.mkdir()
    for name in (pattern[1:] for pattern in patterns if pattern.startswith("!")):
        if (context / name).is_dir():
            shutil.copytree(context / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(context / name, os.fspath(target / name))
    return target
