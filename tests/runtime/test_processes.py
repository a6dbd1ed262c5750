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


POOLS = """\
import multiprocessing, os, tempfile
from cog import *

class Predictor:
    def predict(self, how: str) -> list:
        {late}
        tempfile.mkstemp(dir=tempfile.mkdtemp())
        tempfile.mkstemp()
        if how == "manager":
            with multiprocessing.Manager() as manager:
                return list(manager.list([1]))
        with multiprocessing.get_context(how).Pool(1) as pool:
            return pool.map(abs, [-1])
"""


def left_by(coglet: Any) -> set[str]:
    """What its predictions have left in their temporary directories after its end."""
    coglet.write("stop")
    assert coglet.process.wait(timeout=10) == 0
    return {path.name for path in (coglet.work / "tmp").rglob("*")}


def test_pools_and_managers_in_one_prediction_after_the_other(any_python: str, start_coglet: Start) -> None:
    # The working directory has a path that is too long for sockets in it.
    coglet = start_coglet(POOLS.format(late=""), python=any_python)
    coglet.setup_result()
    for number, how in enumerate(("manager", "forkserver", "forkserver", "manager", "spawn", "fork")):
        response = coglet.predict(str(number), how=how)
        assert (response["status"], response["output"]) == ("succeeded", [1]), (how, response["logs"])
    assert left_by(coglet) == set()


def test_a_pool_of_a_model_that_imports_multiprocessing_late(start_at_short_path: Start) -> None:
    source = POOLS.format(late="import multiprocessing").replace("import multiprocessing, os", "import os", 1)
    coglet = start_at_short_path(source)
    coglet.setup_result()
    for number in range(3):
        response = coglet.predict(str(number), how="forkserver")
        assert (response["status"], response["output"]) == ("succeeded", [1]), response["logs"]
    # Its own directory was in that of the first prediction.
    assert left_by(coglet) == {"scratch-1"}


BACKGROUND = """\
import os, tempfile, threading, time
from cog import *

class Predictor:
    def setup(self):
        self.now, self.done = threading.Event(), threading.Event()
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            self.now.wait()
            self.now.clear()
            while os.path.exists(self.left):
                time.sleep(0.001)
            try:
                tempfile.TemporaryFile().close()
                self.result = "made"
            except OSError as error:
                self.result = str(error)
            self.done.set()

    def predict(self) -> str:
        self.left = tempfile.mkdtemp()
        return "left one"

    def healthcheck(self):
        self.now.set()
        self.done.wait()
        return self.result == "made"
"""


def test_a_thread_makes_temporary_files_between_predictions(start_coglet: Start) -> None:
    coglet = start_coglet(BACKGROUND)
    coglet.setup_result()
    assert coglet.predict("a")["output"] == "left one"
    with (coglet.work / "healthcheck").open("w") as file:
        file.write("b\n")
    answer = coglet.until(lambda: coglet.read("health-b.json"))
    assert answer["healthy"] is True
