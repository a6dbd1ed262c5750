"""Coming from the Cogflare of 2022: the page's commands as they stand, and a bot of then, unmodified."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Trace
from tests.support.commands import COGFLARE, REPOSITORY, Agent, Server, run, until
from tests.support.legacy import CLIENT_TOKEN, WORKER_STRING, LegacyWorker, import_tokens, pool_of
from tests.support.receiver import Receiver, receiver

PAGE = (REPOSITORY / "docs" / "how-to" / "from-2022.md").read_text("utf-8")
MODEL = "test/waiter"


class Bot:
    """A Discord bot of 2022, as far as it is about Cogflare: it posts, hears of progress by callback, and
    polls when it has missed one. It sends its token with the POST only, and knows nothing newer."""

    def __init__(self, url: str, callbacks: Receiver) -> None:
        self._api = f"{url}/v1/predictions"
        self._callbacks = callbacks
        self.shown: dict[str, str] = {}

    def ask(self, input: dict[str, Any], message: str) -> str:
        body = {"model": MODEL, "input": input, "callbackUrl": f"{self._callbacks.url}/callback/{message}"}
        request = urllib.request.Request(
            self._api,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "X-Cogflare-Token": CLIENT_TOKEN},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
            made = json.load(answer)
        assert made["status"] == "creating"
        return str(made["id"])

    def heard(self, message: str) -> list[str]:
        """The states that it was told for one of its messages; it shows the last."""
        told = [one.json for one in self._callbacks.received if one.path == f"/callback/{message}"]
        if told and told[-1]["status"] == "succeeded":
            self.shown[message] = told[-1]["output"]
        return [one["status"] for one in told]

    def poll(self, id: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._api}/{id}") as answer:
            return dict(json.load(answer))


def test_a_bot_of_2022_works_unmodified(
    serve: Callable[..., Server], tmp_path: Path, stack: Any, trace: Trace
) -> None:
    """With a worker of 2022 and an agent of today in one queue."""
    server = serve("--allow-private", "127.0.0.0/8")
    import_tokens(server)
    pool = pool_of(server)
    made = run("token", "create", "new", "--worker", pool, "--json", "--data", str(server.data))
    server.tokens["default", "worker"] = json.loads(made.stdout)["token"]
    waiter = REPOSITORY / "tests" / "acceptance" / "models" / "waiter"
    agent = Agent(server, tmp_path / "agent", f"{MODEL}={waiter}")
    stack.callback(agent.close)
    agent.ready()
    bot = Bot(server.url, stack.enter_context(receiver()))

    id = bot.ask(trace.input("one"), "m1")
    until(lambda: bot.heard("m1")[:2] == ["creating", "processing"], "it hears that it runs")
    assert bot.poll(id)["status"] == "processing"
    old = LegacyWorker(server, model=MODEL, token=WORKER_STRING)
    stack.callback(old.close)
    old.connect()
    bot.ask(trace.input("two"), "m2")
    old.run("by the old one")
    until(lambda: bot.heard("m2")[-1:] == ["succeeded"], "the end of the second")
    trace.go("one")
    until(lambda: bot.heard("m1")[-1:] == ["succeeded"], "the end of the first")
    assert bot.shown == {"m1": "done one", "m2": "by the old one"}
    assert bot.poll(id)["output"] == "done one"


def commands() -> list[str]:
    """The page's commands for a shell."""
    return re.findall(r"^    ((?:cogflare|curl) .*)$", PAGE, re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_page_as_it_stands(serve: Callable[..., Server], tmp_path: Path, stack: Any) -> None:
    server = serve()
    record = re.search(r"^    (\{.*\})$", PAGE, re.MULTILINE)
    assert record
    (tmp_path / "KV.json").write_text(record[1])
    environment = {"PATH": f"{Path(COGFLARE).parent}:/usr/bin:/bin", "SERVER": server.url}
    environment["COGFLARE_DATA"] = str(server.data)
    said: dict[str, str] = {}
    pool = id = ""
    for line in commands():
        line = line.replace("POOL", pool or "POOL").replace("OWNER/NAME", "acme/hello")
        line = line.replace("/ID", f"/{id}")
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        said[line] = done.stdout
        if line == "cogflare token list":
            found = re.search(r"imported-[0-9a-f]{10}", done.stdout)
            assert found, done.stdout
            pool = found[0]
            worker = LegacyWorker(server, token="WORKER-STRING")
            stack.callback(worker.close)
            assert worker._path.partition("/v1/")[2] in PAGE.replace("OWNER/NAME", "acme/hello")
            worker.connect()
        if "CLIENT-TOKEN" in line:
            id = json.loads(done.stdout)["id"]
            worker.run("hello")
            until(lambda id=id: ended(server.url, id), "its end")  # type: ignore[misc]
    *_, last = (text for line, text in said.items() if line.startswith("curl"))
    assert (json.loads(last)["status"], json.loads(last)["output"]) == ("succeeded", "hello")
    assert len(said) == len(commands()) == 7
    for name in ("gpu-2", "my-bot"):
        assert (tmp_path / f"{name}.token").stat().st_mode & 0o777 == 0o600


def ended(url: str, id: str) -> bool:
    with urllib.request.urlopen(f"{url}/v1/predictions/{id}") as answer:
        return bool(json.load(answer)["status"] == "succeeded")
