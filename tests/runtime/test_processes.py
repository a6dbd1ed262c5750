"""What models do with processes of their own, and what these share with the one that runs the model."""

from collections.abc import Callable
from typing import Any

import pytest

Start = Callable[..., Any]

FORKS = """\
import os, sys
from typing import *
from cog import *

def leave(how):
    if how == "exits":
        sys.exit(3)
    if how == "exits with a message":
        sys.exit("bye")
    if how == "fails":
        raise ValueError("in the child")

class Predictor(BasePredictor):
    {setup}setup(self) -> None:
        child = os.fork()
        if child == 0:
            sys.exit(4)
        print("setup:", os.waitpid(child, 0)[1] >> 8)

    {predict}predict(self, how: str) -> {output}:
        child = os.fork()
        if child == 0:
            print("child")
            leave(how)
        {gives} child and os.waitpid(child, 0)[1] >> 8
"""
FORMS = {
    "sync": {"setup": "def ", "predict": "def ", "output": "int", "gives": "return"},
    "generator": {"setup": "def ", "predict": "def ", "output": "Iterator[int]", "gives": "yield"},
    "async": {"setup": "async def ", "predict": "async def ", "output": "int", "gives": "return"},
    "async generator": {
        "setup": "async def ",
        "predict": "async def ",
        "output": "AsyncIterator[int]",
        "gives": "yield",
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_forked_child_ends_where_the_models_code_ends(start_coglet: Start, form: str) -> None:
    coglet = start_coglet(FORKS.format(**FORMS[form]))
    result = coglet.setup_result()
    assert (result["status"], result["logs"]) == ("succeeded", "setup: 4\n")
    for how, code, log in (
        ("exits", 3, "child\n"),
        ("exits with a message", 1, "child\nbye\n"),
        ("returns", 0, "child\n"),
    ):
        response = coglet.predict(how.replace(" ", "-"), how=how)
        output = [code] if "generator" in form else code
        assert (response["status"], response["output"], response["logs"]) == ("succeeded", output, log), how
    response = coglet.predict("fails", how="fails")
    assert response["status"] == "succeeded"
    assert response["logs"].endswith("ValueError: in the child\n")
