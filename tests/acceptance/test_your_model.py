"""What docs/how-to/your-model.md says, typed as it stands there; only the port and home are the test's."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.support.commands import COGFLARE, REPOSITORY, Command, Server, run, until

PAGE = (REPOSITORY / "docs" / "how-to" / "your-model.md").read_text("utf-8")
COMMANDS = re.findall(r"^    (cogflare .*)$", PAGE, re.MULTILINE)


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_from_a_folder_to_a_served_model(serve: Callable[..., Server], tmp_path: Path) -> None:
    model = tmp_path / "poster"
    model.mkdir()
    (model / "predict.py").write_text(block("python"))
    # The version and the packages are those of the tests' own interpreter.
    (model / "cog.yaml").write_text(block("yaml").replace('python_version: "3.11"', "gpu: false"))
    schema, first, again, installed, agent, there, choose = COMMANDS

    def types(line: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line.replace("cogflare", COGFLARE, 1)],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "under" in json.loads(types(schema))["components"]["schemas"]["Input"]["properties"]
    assert types(first) == "poster.png\n"
    assert types(again) == "out/poster.png\n"
    assert size(tmp_path / "out" / "poster.png") == (512, 512)
    assert installed == f"{first} --install"

    server = serve()
    line = agent.replace("http://127.0.0.1:8000", server.url).replace("=poster --install", f"={model}")
    worker = {"COGFLARE_TOKEN": server.token(worker=True), "HOME": str(tmp_path)}
    serving = Command(*line.split()[1:], environment=worker)
    try:
        serving.line("serving .*me/poster")
        line = there.replace("http://127.0.0.1:8000", server.url)
        assert types(line, COGFLARE_TOKEN=server.token()) == "poster-1.png\n"
        assert size(tmp_path / "poster-1.png") == (256, 256)
        calls = server.calls()
        (made,) = calls.http.get("/v1/predictions").json()["results"]
        # It may be told to the index a moment after its client has it.
        told = [*choose.replace("ID", made["id"]).split()[1:], "--data", str(server.data)]
        until(lambda: run(*told).returncode == 0, "the example is chosen")
        path = "/v1/models/me/poster/examples"
        (example,) = until(lambda: calls.http.get(path).json()["results"], "the example is listed")
        assert (example["id"], example["output"]) == (made["id"], made["output"])
        shown = run("model", "show", "me/poster", "--data", str(server.data)).stdout
        assert f"example: {made['id']}\n" in shown
        text = run("model", "set", "me/poster", "--reset", "example", "--data", str(server.data)).stdout
        assert "all as the server has them" in text
    finally:
        serving.close()
