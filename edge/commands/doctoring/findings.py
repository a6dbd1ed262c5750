"""What a check has found, and how it is told. Pure."""

import subprocess
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import httpx

from edge.exits import CommandFailed

State = Literal["ok", "warn", "fail", "skip"]
Subject = TypeVar("Subject")

_WORDS: dict[State, str] = {"ok": "ok", "warn": "warn", "fail": "FAIL", "skip": "-"}
_INDENT = "  "
_STATE_WIDTH = 6
LEAST_COLUMNS = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """``detail`` says how it is, ``hint`` what to do about it."""

    state: State
    detail: str
    hint: str = ""


class Check(NamedTuple):
    """A name, and a function that looks. When it raises what may go wrong with systems, it has failed."""

    name: str
    look: Callable[[Any], Finding]


def ok(detail: str) -> Finding:
    return Finding("ok", detail)


def warn(detail: str, hint: str) -> Finding:
    return Finding("warn", detail, hint)


def fail(detail: str, hint: str) -> Finding:
    return Finding("fail", detail, hint)


def skip(detail: str) -> Finding:
    return Finding("skip", detail)


def looked(check: Check, subject: object) -> Finding:
    """What the check finds."""
    try:
        return check.look(subject)
    except CommandFailed as failure:
        return fail(failure.message, failure.hint)
    except PermissionError as error:
        return fail(f"{error.strerror}: {error.filename}", "run this as the user of the server or agent")
    except OSError as error:
        return fail(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""), "")
    except httpx.HTTPError as error:
        return fail(f"no answer came: {str(error) or type(error).__name__}", "try again")
    except subprocess.TimeoutExpired as error:
        return fail(f"{error.cmd[0]} did not end within {error.timeout:g} s", "is the machine overloaded?")


def told(name: str, finding: Finding, name_width: int, columns: int) -> str:
    """Lines for a person: the state, the name, how it is, and what to do, which begins with an arrow."""
    indent = _STATE_WIDTH + name_width + 2
    head = f"{_WORDS[finding.state]:<{_STATE_WIDTH}}{name:<{name_width}}  "
    lines = _wrapped(finding.detail, columns - indent)
    lines += _wrapped(f"-> {finding.hint}" if finding.hint else "", columns - indent)
    return "\n".join([head + lines[0], *(" " * indent + line for line in lines[1:])])


def passed_over(found: Iterable[tuple[str, Finding]], columns: int) -> str:
    """Which checks were not made, by the reason; empty when all were."""
    reasons: dict[str, list[str]] = {}
    for name, finding in found:
        if finding.state == "skip":
            reasons.setdefault(finding.detail, []).append(name)
    lines = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    wrapped = [each for line in lines for each in _wrapped(line, columns - len(_INDENT), _INDENT)]
    return "\nnot looked at:\n" + "".join(f"{_INDENT}{line}\n" for line in wrapped) + "\n" if lines else "\n"


def summary(findings: Iterable[Finding]) -> str:
    """The last line."""
    states = [finding.state for finding in findings]
    done = len(states) - states.count("skip")
    parts = [f"{done} check{'' if done == 1 else 's'}", f"{states.count('fail')} failed"]
    if states.count("warn"):
        parts.append(f"{states.count('warn')} to look at")
    return ", ".join(parts)


def as_json(found: Sequence[tuple[str, Finding]]) -> dict[str, Any]:
    return {
        "ok": all(finding.state != "fail" for _, finding in found),
        "checks": [
            {"check": name, "state": each.state, "detail": each.detail, "hint": each.hint}
            for name, each in found
        ],
    }


def _wrapped(text: str, width: int, following: str = "") -> list[str]:
    """``following`` begins each line but the first."""
    return textwrap.wrap(
        text,
        max(LEAST_COLUMNS, width),
        break_on_hyphens=False,
        break_long_words=False,
        subsequent_indent=following,
    )
