"""One server with agents for all official clients, whose programs run beside each other, once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.commands import REPOSITORY, Agent, Calls, Server, run

HERE = Path(__file__).parent
INSTALLED = REPOSITORY / "build" / "clients"
CLIENTS = ("python1", "python2", "javascript")
"""The programs, by client: ``replicate`` 1.0.7 and 2.0.0b4 of Python, and 1.4.0 of npm."""
MODELS = {"echo": "test/echo", "story": "demo/storyteller", "ghost": "test/absent"}
"""Whose newest version the programs are told, and by what name."""
LIMITED_PER_MIN = 30
"""How often a minute the limited tokens may create: who has used it up waits for 2 s at most."""
PROGRAM_S = 120.0
WAIT_S = 2.0
"""What ``Prefer: wait`` means at most on this server: its clients' own limits are cut down in proportion."""

Report = dict[str, str | None]
"""What went wrong in each case; null for nothing."""


@dataclass
class World:
    """The server, and what the programs are told of it."""

    server: Server
    calls: Calls
    token: str
    told: dict[str, Any]


def command(client: str) -> tuple[list[str], dict[str, str]]:
    """How a client's program is started, and in what environment."""
    if client == "javascript":
        node = shutil.which("node")
        assert node is not None, "make test installs node"
        return [node, str(HERE / "javascript.cjs")], {"NODE_PATH": str(INSTALLED / "javascript/node_modules")}
    path = f"{INSTALLED / 'python2'}" if client == "python2" else ""
    return [sys.executable, str(HERE / f"{client}.py")], {"PYTHONPATH": path}


def carry_out(world: World, *cases: str, **environment: str) -> dict[str, Report]:
    """Run all programs at once, and give what became of their cases."""
    assert (INSTALLED / ".installed").exists(), "make test installs the clients"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("REPLICATE_")}

    def carried_out(client: str) -> Report:
        program, own = command(client)
        done = subprocess.run(
            [*program, json.dumps(world.told), *cases],
            env={**plain, **own, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROGRAM_S,
            check=False,
        )
        assert done.returncode == 0, f"{client}: {done.stderr}"
        report: Report = json.loads(done.stdout)
        return report

    with ThreadPoolExecutor(len(CLIENTS)) as programs:
        return dict(zip(CLIENTS, programs.map(carried_out, CLIENTS), strict=True))


def limited(server: Server, name: str, *options: str) -> str:
    """A token without the admin's freedom from limits."""
    made = run("token", "create", name, *options, "--data", str(server.data), "--json")
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["token"])


def picture(folder: Path) -> Path:
    path = folder / "picture.png"
    Image.linear_gradient("L").convert("RGB").resize((320, 200)).save(path)
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("clients")
    models = REPOSITORY / "examples" / "models"
    echo = HERE / "models" / "echo"
    # Another version: whoever names one alone is not to get a model without workers.
    copy = Path(shutil.copytree(echo, folder / "echo"))
    (copy / "another.py").write_text("")
    with ExitStack() as stack:
        options = ("--allow-private", "127.0.0.0/8", "--wait-s", str(WAIT_S), "--page-size", "5")
        server = Server(folder / "data", *options)
        stack.callback(server.close)
        server.start()
        gone = [f"test/{name}={copy}" for name in ("absent", *(f"ghost-{client}" for client in CLIENTS))]
        before = Agent(server, folder / "before", *gone)
        stack.callback(before.close)
        agent = Agent(
            server,
            folder / "agent",
            f"test/echo={echo}",
            *(f"demo/{name}={models / name}" for name in ("storyteller", "restyle")),
            options=("--slots", "6"),
        )
        stack.callback(agent.close)
        before.ready()
        before.command.terminate()
        # What asks for a model without workers is not to wait longer than a test.
        done = run("model", "set", "test/absent", "--queue-s", "1", "--data", str(server.data))
        assert done.returncode == 0, done.stderr
        agent.ready()
        token = (server.data / "admin-token").read_text().strip()
        http = stack.enter_context(
            httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=60)
        )
        versions = {
            name: http.get(f"/v1/models/{model}").json()["latest_version"]["id"]
            for name, model in MODELS.items()
        }
        story = {"input": {"prompt": "an example", "words": 80, "pace": "instant"}}
        path = f"/v1/models/{MODELS['story']}"
        example = http.post(f"{path}/predictions", json=story, headers={"prefer": "wait"}).json()["id"]
        http.patch(path, json={"examples": [example]}).raise_for_status()
        rate = ("--creations-per-min", str(LIMITED_PER_MIN))
        told = {
            "url": server.url,
            "token": token,
            "limited": {client: limited(server, f"limited-{client}", *rate) for client in CLIENTS},
            "picture": str(picture(folder)),
            "example": example,
            **versions,
        }
        yield World(server, Calls(http), token, told)


@pytest.fixture(scope="session")
def reports(world: World) -> dict[str, Report]:
    return carry_out(world)
