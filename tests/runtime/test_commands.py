"""What a model's author runs by hand: the document, and one prediction."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

MODEL = """\
from cog import BasePredictor

print("imported")

class Predictor(BasePredictor):
    test_inputs = {"text": "%s"}

    def predict(self, text: str) -> str:
        print("predicting")
        if text == "exit":
            raise SystemExit(0)
        return text * 2
"""


@pytest.fixture
def run(any_python: str, runtime: Path, tmp_path: Path) -> Any:
    def run(command: str, text: str = "a") -> subprocess.CompletedProcess[str]:
        (tmp_path / "predict.py").write_text(MODEL % text)
        return subprocess.run(
            [any_python, "-S", "-m", f"cog.command.{command}"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(runtime), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


def test_the_document_is_alone_on_stdout(run: Any) -> None:
    done = run("openapi_schema")
    assert (done.returncode, done.stderr) == (0, "imported\n")
    assert json.loads(done.stdout)["components"]["schemas"]["Input"]["properties"].keys() == {"text"}


def test_the_output_is_alone_on_stdout(run: Any) -> None:
    done = run("test")
    assert (done.returncode, done.stdout, done.stderr) == (0, '"aa"\n', "imported\npredicting\n")


def test_without_an_output_it_fails(run: Any) -> None:
    done = run("test", "exit")
    assert (done.returncode, done.stdout) == (1, "")
    assert "SystemExit: 0\n" in done.stderr
