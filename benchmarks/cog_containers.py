"""Puts Cog's own servers, and ours, behind an agent, and writes down what a user of the API sees of each.

    .venv/bin/python benchmarks/cog_containers.py --write docs/compatibility.md

Each original is installed from the package index when it is not there yet.
"""

import argparse
import base64
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
from cog_originals import PACKAGES, command
from processes import COGFLARE, child, create_token, free_port, stop
from report import write_into

T = TypeVar("T")

BEGIN, END = "<!-- made by benchmarks/cog_containers.py -->", "<!-- end of what containers do -->"
OURS = "ours"
SERVERS = (OURS, *PACKAGES)
READY_S = 60.0
ENDED = ("succeeded", "failed", "canceled")
PREDICTOR = """\
import os
import tempfile
import time
from typing import Iterator, Optional
from cog import BasePredictor, Input, Path

class Predictor(BasePredictor):
    def predict(
        self,
        n: int = Input(default=2, ge=0, le=100),
        pause: float = 0.0,
        size: int = 0,
        file: FILE = Input(default=None),
        fail: str = "",
    ) -> Iterator[OUTPUT]:
        for number in range(n):
            print(f"item {number}", flush=True)
            yield ITEM
            time.sleep(pause)
        if fail == "exit":
            os._exit(9)
        if fail:
            raise ValueError(fail)
"""
SAVE = """\
def save(number, file):
    path = os.path.join(tempfile.mkdtemp(), f"item{number}.txt")
    with open(path, "w") as out:
        out.write(f"{number} {len(open(str(file), 'rb').read()) if file else 0}")
    return Path(path)

"""


def predictor(version: str, *, files: bool) -> str:
    """The source of the model, which yields files or texts. The oldest Cog has no ``Optional``."""
    kind, item = ("Path", "save(number, file)") if files else ("str", "str(number)")
    source = PREDICTOR.replace("OUTPUT", kind).replace("ITEM", item)
    source = source.replace("FILE", "Path" if version == "0.9.26" else "Optional[Path]")
    return source.replace("class Predictor", f"{SAVE}class Predictor")


class Box:
    """One Cog server, behind an agent of its own, on a Cogflare server of its own."""

    def __init__(self, version: str, folder: Path, stack: ExitStack) -> None:
        self.version = version
        self.folder = folder
        self.port = free_port()
        self._stack = stack
        self._server = free_port()
        self.container: subprocess.Popen[bytes] | None = None
        data, url = folder / "data", f"http://127.0.0.1:{self._server}"
        serve = [COGFLARE, "serve", "--port", str(self._server), "--data", str(data)]
        stack.enter_context(child("serve", serve, folder / "server.log"))
        _until(lambda: _answers(f"{url}/readyz"), "the server")
        self.worker = create_token(data, "worker", "--worker", "default")
        headers = {"Authorization": f"Bearer {create_token(data, 'client')}"}
        self.http = stack.enter_context(
            httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
        )

    def start(self, model: str) -> None:
        """A container of this model, and an agent in front of it, under the model's name."""
        folder = self.folder / model
        folder.mkdir()
        (folder / "predict.py").write_text(predictor(self.version, files=model == "files"))
        (folder / "cog.yaml").write_text('build: {python_version: "3.11"}\npredict: "predict.py:Predictor"\n')
        schema = subprocess.run([COGFLARE, "schema", str(folder)], capture_output=True, check=True).stdout
        (folder / ".cog").mkdir()
        (folder / ".cog" / "openapi_schema.json").write_bytes(schema)
        self.contain(model)
        log = self.folder / f"agent-{model}.log"
        words = [COGFLARE, "agent", "--server", str(self.http.base_url), "--model", f"me/{model}"]
        words += [
            "--cog-url",
            f"http://127.0.0.1:{self.port}",
            "--state",
            str(self.folder / f"state-{model}"),
        ]
        self._stack.enter_context(child("agent", words, log, {"COGFLARE_TOKEN": self.worker}))
        _until(lambda: log.exists() and f"serving me/{model}" in log.read_text(), "the agent")

    def contain(self, model: str) -> None:
        """The container, anew when it is there."""
        self.end_container()
        if self.version == OURS:
            words = [COGFLARE, "cog-server", ".", "--port", str(self.port)]
            environment: Mapping[str, str] = os.environ
        else:
            words, environment = command(self.version, self.port)
        with (self.folder / "container.log").open("ab") as log:
            self.container = subprocess.Popen(
                words, cwd=self.folder / model, env=dict(environment), stdout=log, stderr=log
            )

    def healthy(self) -> bool:
        """The container is there, and not beyond help."""
        try:
            with httpx.Client(trust_env=False) as client:
                health = client.get(f"http://127.0.0.1:{self.port}/health-check").json()
        except httpx.TransportError:
            return False
        return health["status"] in ("STARTING", "READY", "BUSY")

    def end_container(self) -> None:
        if self.container is not None:
            stop(self.container)
            self.container = None

    def create(self, model: str, **given: Any) -> str:
        answer = self.http.post("/v1/predictions", json={"model": f"me/{model}", "input": given})
        answer.raise_for_status()
        id: str = answer.json()["id"]
        return id

    def get(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/predictions/{id}").json()
        return found

    def ended(self, id: str) -> dict[str, Any]:
        return _until(
            lambda: found if (found := self.get(id))["status"] in ENDED else None, "the prediction's end"
        )

    def run(self, model: str, **given: Any) -> dict[str, Any]:
        return self.ended(self.create(model, **given))

    def texts(self, prediction: dict[str, Any]) -> list[str]:
        """What is in the files of an output."""
        return [self.http.get(url).text for url in prediction["output"] or ()]

    def meanwhile(self, id: str) -> dict[str, Any]:
        """The most that was seen of it before its end."""
        best: dict[str, Any] = {}
        while (found := self.get(id))["status"] not in ENDED:
            if len(found["output"] or ()) >= len(best.get("output") or ()):
                best = found
            time.sleep(0.02)
        return best


def _works(box: Box) -> str:
    return _yes(box.run("texts", n=3)["output"] == ["0", "1", "2"])


def _refuses(box: Box) -> str:
    answer = box.http.post("/v1/predictions", json={"model": "me/texts", "input": {"n": -1}})
    return _yes(answer.status_code == 422)


def _logs(box: Box) -> str:
    return _yes("item 0" in (box.meanwhile(box.create("texts", n=3, pause=0.7)).get("logs") or ""))


def _streams(box: Box) -> str:
    return _yes(bool(box.meanwhile(box.create("texts", n=3, pause=0.7)).get("output")))


def _fails(box: Box) -> str:
    found = box.run("texts", fail="no good")
    traceback = "with its traceback" if "Traceback" in found["logs"] else "without its traceback"
    return traceback if found["status"] == "failed" and "no good" in found["error"] else "no"


def _cancels(box: Box) -> str:
    id = box.create("texts", n=60, pause=0.2)
    _until(lambda: box.get(id)["status"] == "processing", "the start")
    time.sleep(0.5)
    began = time.monotonic()
    box.http.post(f"/v1/predictions/{id}/cancel")
    found = box.ended(id)
    took_s = time.monotonic() - began
    if found["status"] != "canceled":
        return "no"
    return "yes" if took_s < 2 else f"after its grace, {took_s:.0f} s; it goes on in the container"


def _small_file(box: Box) -> str:
    url = "data:text/plain;base64," + base64.b64encode(b"hello").decode()
    return _yes(box.texts(box.run("files", n=1, file=url)) == ["0 5"])


def _large_file(box: Box) -> str:
    made = box.http.post("/v1/files", files={"content": ("big.bin", bytes(5_000_000))}).json()
    return _yes(box.texts(box.run("files", n=1, file=made["urls"]["get"])) == ["0 5000000"])


def _files_out(box: Box) -> str:
    began = time.monotonic()
    id = box.create("files", n=3, pause=0.7)
    _until(lambda: box.get(id)["output"] or box.get(id)["status"] in ENDED, "an output")
    early = time.monotonic() - began < 1.0
    box.ended(id)
    right = box.texts(box.get(id)) == ["0 0", "1 0", "2 0"]
    return ("as they come" if early else "at the end") if right else "no"


def _busy(box: Box) -> str:
    order = {"input": {"n": 10, "pause": 0.2}}
    url = f"http://127.0.0.1:{box.port}/predictions"
    with httpx.Client(trust_env=False, timeout=30) as client:
        other = threading.Thread(target=lambda: client.post(url, json=order))
        other.start()
        time.sleep(0.5)
        found = box.run("files", n=1)
        other.join()
    return _yes(found["status"] == "succeeded")


def _process_dies(box: Box) -> str:
    id = box.create("files", n=1, fail="exit")
    while (found := box.get(id))["status"] not in ENDED:
        # A server that ends with its process, or is of no use without it, is started again by somebody.
        if not box.healthy():
            box.contain("files")
        time.sleep(1.0)
    return _yes(found["error_code"] == "poison")


def _comes_back(box: Box) -> str:
    box.end_container()
    id = box.create("files", n=1)
    time.sleep(0.5)
    box.contain("files")
    return _yes(box.ended(id)["status"] == "succeeded")


def _killed(box: Box) -> str:
    id = box.create("files", n=5, pause=0.3)
    _until(lambda: box.get(id)["status"] == "processing", "the start")
    time.sleep(0.5)
    assert box.container is not None
    box.container.kill()
    box.contain("files")
    return _yes(box.ended(id)["status"] == "succeeded")


LINES: tuple[tuple[str, str, Callable[[Box], str]], ...] = (
    ("texts", "a prediction", _works),
    ("texts", "an input out of bounds is refused by the server", _refuses),
    ("texts", "logs while it runs", _logs),
    ("texts", "yielded texts while it runs", _streams),
    ("texts", "an exception is told", _fails),
    ("texts", "cancel", _cancels),
    ("files", "an input file", _small_file),
    ("files", "an input file of 5 MB", _large_file),
    ("files", "yielded files", _files_out),
    ("files", "a container that somebody else uses is waited for", _busy),
    ("files", "a container that was away for a while is waited for", _comes_back),
    ("files", "what a killed container ran is run again when it is back", _killed),
    ("files", "a prediction that ends its process, again and again, is `poison`", _process_dies),
)


def examine(version: str, folder: Path) -> dict[str, str]:
    """Each line's finding for one server."""
    found = {}
    for model in dict.fromkeys(model for model, _, _ in LINES):
        place = folder / model
        place.mkdir()
        with ExitStack() as stack:
            box = Box(version, place, stack)
            stack.callback(box.end_container)
            box.start(model)
            for of, line, look in LINES:
                if of == model:
                    found[line] = look(box)
                    print(f"{version}: {line}: {found[line]}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=SERVERS, help="just this server")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of FILE")
    options = parser.parse_args()
    versions = options.only or SERVERS
    found = {}
    for version in versions:
        with tempfile.TemporaryDirectory() as folder:
            found[version] = examine(version, Path(folder))
    lines = [["in the container", *versions], ["---"] * (len(versions) + 1)]
    lines += [[line, *(found[version][line] for version in versions)] for _, line, _ in LINES]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    print(text)
    if options.write:
        write_into(options.write, f"\n{text}\n", BEGIN, END)
    return 0


def _yes(right: bool) -> str:
    return "yes" if right else "no"


def _until(look: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + READY_S
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {READY_S:g} s still not there: {what}")
        time.sleep(0.02)
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main())
