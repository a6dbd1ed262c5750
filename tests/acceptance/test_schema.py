"""``cogflare schema``: a model's OpenAPI document on stdout, or what is wrong with the model."""

import json
import os
import shutil
import sys
from pathlib import Path

from tests.support.commands import run
from tests.support.local_package import write_model

HELLO = """
print("importing")
from cog import BasePredictor, Input

class Predictor(BasePredictor):
    def setup(self) -> None:
        raise RuntimeError("not needed for a document")

    def predict(self, name: str = Input(description="whom to greet")) -> str:
        return "hello " + name
"""


def test_a_models_document(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(HELLO)
    done = run("schema", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "importing\n"
    schemas = json.loads(done.stdout)["components"]["schemas"]
    assert schemas["Input"]["properties"]["name"]["description"] == "whom to greet"
    assert schemas["Output"]["type"] == "string"


def test_a_model_with_mistakes_names_them_all(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(
        "from cog import BasePredictor, Input\n\n"
        "class Predictor(BasePredictor):\n"
        '    def predict(self, n=Input(default="how many", ge=1, le=100)) -> str:\n'
        "        return str(n)\n"
    )
    done = run("schema", str(tmp_path))
    assert done.returncode == 1
    assert not done.stdout
    assert 'n=Input(default="how many", ge=1, le=100)' in done.stderr
    assert "annotation" in done.stderr


def test_a_model_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text("import no_such_module_of_ours\n")
    done = run("schema", str(tmp_path))
    assert done.returncode == 1
    assert "No module named 'no_such_module_of_ours'" in done.stderr
    # The interpreter that runs the command; a single file has another one for models.
    python = shutil.which("python3") if os.environ.get("COGFLARE_BINARY") else sys.executable
    line = f"{python} has no module no_such_module_of_ours: "
    assert done.stderr.splitlines()[-1].startswith(f"cogflare: {line}`{python} -m pip install ")
    done = run("schema", str(tmp_path), "--python", "/no/such/python")
    assert done.returncode == 2
    assert "the interpreter /no/such/python cannot be started" in done.stderr


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    done = run("schema", str(tmp_path))
    assert done.returncode == 2
    assert "neither cog.yaml nor predict.py" in done.stderr
    assert run("schema", str(tmp_path / "none")).returncode == 2


def test_a_model_that_stops_its_process_while_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text("import os\nos._exit(0)\n")
    done = run("schema", str(tmp_path))
    assert done.returncode == 1
    assert not done.stdout
    assert (
        done.stderr
        == f"cogflare: {tmp_path} cannot be loaded: it ended the interpreter while it was imported\n"
    )


def test_with_install_the_model_is_read_in_its_own_environment(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    assert run("schema", str(model)).returncode == 1
    done = run("schema", str(model), "--install", "--cache", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "name" in json.loads(done.stdout)["components"]["schemas"]["Input"]["properties"]
