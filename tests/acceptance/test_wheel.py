"""The wheel holds all that an installed Cogflare needs besides Python modules."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.commands import REPOSITORY


def test_a_server_and_a_runner_start_from_what_the_wheel_holds(tmp_path: Path) -> None:
    dist, site, model = tmp_path / "dist", tmp_path / "site", tmp_path / "model"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True, timeout=60)
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    model.mkdir()
    (model / "predict.py").write_text(
        "from cog import BasePredictor\n\n"
        "class Predictor(BasePredictor):\n"
        "    def predict(self, text: str) -> str:\n"
        "        return text\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def cogflare(*arguments: str) -> str:
        program = "import edge.cli, sys; assert sys.argv.pop(1) in edge.__file__; sys.exit(edge.cli.main())"
        done = subprocess.run(
            [sys.executable, "-c", program, str(site), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    cogflare("migrate", "--data", str(tmp_path / "data"))
    assert (tmp_path / "data" / "control.db").is_file()
    assert '"text"' in cogflare("schema", str(model))
