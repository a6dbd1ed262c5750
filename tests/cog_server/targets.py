"""Starts a model behind Cog's HTTP API: by ``cogflare cog-server``, or by one of the originals.

Which one is said by COG_SERVER_UNDER_TEST: empty for ours, else the folder of a virtual environment with an
original in it. The scenarios do not know.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.commands import Command, run, until

MODELS = Path(__file__).parent / "models"
READY_S = 15.0
ORIGINAL = os.environ.get("COG_SERVER_UNDER_TEST", "")


class Target:
    """A running server. ``close`` it."""

    def __init__(
        self, model: str, folder: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.model = MODELS / model
        if ORIGINAL:
            self.port = _free_port()
            self._process = _start_original(self.model, folder, self.port, *options, environment=environment)
        else:
            self.command = Command(
                "cog-server", str(self.model), "--port", "0", *options, environment=environment
            )
            self._process = self.command.process
            self.port = int(self.command.line(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    @property
    def process(self) -> "subprocess.Popen[Any]":
        return self._process

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/health-check").json()
        return found

    def reaches(self, *states: str, deadline_s: float = READY_S) -> dict[str, Any]:
        """The health, once it is in one of these states."""

        def look() -> dict[str, Any] | None:
            try:
                found = self.health()
            except httpx.TransportError:
                return None
            return found if found["status"] in states else None

        return until(look, f"the server is {' or '.join(states)}", deadline_s)

    def ready(self) -> "Target":
        self.reaches("READY")
        return self

    def recovers(self) -> bool:
        """Whether it is ready again after a scenario that it may not have survived."""
        try:
            self.reaches("READY", deadline_s=3)
        except AssertionError:
            return False
        return True

    def predict(self, input: Mapping[str, Any], **more: Any) -> httpx.Response:
        """POST /predictions with this input."""
        headers = more.pop("headers", {})
        return self.http.post("/predictions", json={"input": input, **more}, headers=headers)

    def succeeded(self, input: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        answer = self.predict(input, **more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert found["status"] == "succeeded", found
        return found

    def get(self, id: str) -> dict[str, Any]:
        answer = self.http.get(f"/predictions/{id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.get(id)
            return found if found["completed_at"] else None

        return until(look, f"{id} has ended")

    def close(self) -> None:
        self.http.close()
        try:
            until(self._told_to_leave, "it has left", 5 if ORIGINAL else 20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if not ORIGINAL:
                self.command.close()

    def _told_to_leave(self) -> bool:
        """Told again each time: a second signal has it not wait for what runs."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.05)
        return self._process.poll() is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start_original(
    model: Path, folder: Path, port: int, *options: str, environment: Mapping[str, str] | None
) -> "subprocess.Popen[Any]":
    """With what its own build would have left in the model's folder."""
    copy = folder / "model"
    shutil.copytree(model, copy)
    config = yaml.safe_load((copy / "cog.yaml").read_text()) if (copy / "cog.yaml").exists() else {}
    config = {"build": {"python_version": "3.11"}, "predict": "predict.py:Predictor", **config}
    (copy / "cog.yaml").write_text(json.dumps(config))
    schema = run("schema", str(model))
    if schema.returncode == 0:
        (copy / ".cog").mkdir()
        (copy / ".cog" / "openapi_schema.json").write_text(schema.stdout)
    binaries = str(Path(ORIGINAL) / "bin")
    stubs = {"COG_PREDICT_TYPE_STUB": config["predict"]}
    if "train" in config:
        stubs["COG_TRAIN_TYPE_STUB"] = config["train"]
    if "concurrency" in config:
        stubs["COG_MAX_CONCURRENCY"] = str(config["concurrency"]["max"])
    return subprocess.Popen(
        [f"{binaries}/python", "-m", "cog.server.http", "--host", "127.0.0.1", *options],
        cwd=copy,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PORT": str(port),
            **stubs,
            **(environment or {}),
        },
        start_new_session=True,
    )
