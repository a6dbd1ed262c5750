"""A server of procedures, and predictors for it in folders that every user may read."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from gpu_agent.cell import User
from tests.cog_server.targets import MODELS
from tests.support.commands import Command, until

HEAD = "import os, time\nfrom cog import BasePredictor, Path, current_scope\n"
ASYNC = {"Prefer": "respond-async"}
SSE = {"Accept": "text/event-stream"}
NOBODY = User(19_999, 65534)


@cache
def reachable_python() -> str:
    """An interpreter that a user without any rights can run, of our own version; empty when there is none."""
    names = (sys.executable, f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3")
    # Not only the first on PATH: that one may lie in somebody's home.
    folders = [Path(each) for each in (*os.get_exec_path(), "/usr/bin")]
    wanted = f"({sys.version_info[0]}, {sys.version_info[1]})"
    script = f"import sys; sys.exit(sys.version_info[:2] != {wanted})"
    for python in dict.fromkeys(folder / name for name in names for folder in folders):
        if python.exists():
            command = NOBODY.command([str(python), "-I", "-c", script])
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return str(python)
    return ""


@contextmanager
def public_folder() -> Iterator[Path]:
    """One that every user may write to: pytest's own folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="cogflare-test-", dir="/tmp"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Library:
    """Where predictors lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, name: str) -> str:
        """The source of one of the models of the scenarios."""
        if not (self.folder / name).exists():
            shutil.copytree(MODELS / name, self.folder / name)
            self.open_up(name)
        return f"file://{self.folder / name}"

    def write(self, name: str, predictor: str, **files: str) -> str:
        """The source of a predictor: the body of its class, and files beside it."""
        (self.folder / name).mkdir()
        body = "".join(f"    {line}\n" for line in predictor.strip().splitlines())
        (self.folder / name / "predict.py").write_text(f"{HEAD}class Predictor(BasePredictor):\n{body}")
        for file, text in files.items():
            (self.folder / name / file.replace("_yaml", ".yaml")).write_text(text)
        self.open_up(name)
        return f"file://{self.folder / name}"

    def open_up(self, name: str) -> None:
        subprocess.run(["chmod", "-R", "a+rX", str(self.folder / name)], check=True)


class Procedures:
    """``cogflare cog-server --procedure-mode``. ``close`` it."""

    def __init__(self, *options: str, environment: Mapping[str, str] | None = None) -> None:
        if os.geteuid() == 0 and "--isolation" not in options and "--python" not in options:
            options += ("--python", reachable_python()) if reachable_python() else ("--isolation", "off")
        self.command = Command(
            "cog-server", "--procedure-mode", "--port", "0", *options, environment=environment
        )
        self.process = self.command.process
        port = self.command.line(r"listening on http://127\.0\.0\.1:(\d+)")[1]
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def ask(self, source: str, input: Mapping[str, Any] | None = None, **more: Any) -> httpx.Response:
        """POST /procedures, or PUT when there is ``put``, the id."""
        headers, put = more.pop("headers", {}), more.pop("put", None)
        context = {"procedure_source_url": source, **more.pop("context", {})}
        body = {"input": input or {}, "context": context, **more}
        if put:
            return self.http.put(f"/procedures/{put}", json=body, headers=headers)
        return self.http.post("/procedures", json=body, headers=headers)

    def succeeded(self, source: str, input: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """The output."""
        answer = self.ask(source, input, **more)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "succeeded", answer.json()
        return answer.json()["output"]

    def failed(self, source: str, input: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        answer = self.ask(source, input, **more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert found["status"] == "failed", found
        return found

    def begun(self, source: str, input: Mapping[str, Any] | None = None, **more: Any) -> str:
        """The id of one that goes on by itself."""
        answer = self.ask(source, input, headers=ASYNC, **more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def get(self, id: str) -> dict[str, Any]:
        answer = self.http.get(f"/procedures/{id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.get(id)
            return found if found["completed_at"] else None

        return until(look, f"{id} has ended")

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/health-check").json()
        return found

    def states(self) -> dict[str, str]:
        """Of each procedure, by the last part of its source."""
        return {each["url"].rpartition("/")[2]: each["status"] for each in self.health()["procedures"]}

    def reach(self, name: str, status: str | None) -> None:
        until(lambda: self.states().get(name) == status, f"{name} is {status}")

    def leave(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        self.http.close()
        for _ in range(2):  # a second signal has it not wait for what runs
            with suppress(ProcessLookupError):
                self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        self.command.close()
