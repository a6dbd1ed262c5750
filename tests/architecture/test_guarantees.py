"""Each promise of docs/guarantees.md has tests, and each test that it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
PROMISES = re.split(r"^(?=\d+\. )", PAGE.partition("\nKills, freezes")[0], flags=re.MULTILINE)[1:]


@cache
def defined_in(path: str) -> frozenset[str]:
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.exists() else ast.Module([], [])
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)), ids=str)
def test_it_is_there(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in defined_in(path)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: str(promise).partition(".")[0])
def test_a_promise_has_a_test(promise: str) -> None:
    assert re.search(r"`tests/[\w/]+\.py::\w+`", promise)


def test_the_promises_are_numbered_in_order() -> None:
    assert [int(promise.partition(".")[0]) for promise in PROMISES] == list(range(1, len(PROMISES) + 1))
