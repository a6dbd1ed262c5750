"""The agent's command as a process: what it says, how it leaves, with which exit code."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from coordinator.protocol import messages as m
from tests.support.commands import until
from tests.support.local_package import builds, write_model
from tests.support.wire_server import wire_server

COGFLARE = str(Path(sys.executable).with_name("cogflare"))
MODEL = """
import os
import time
from cog import BasePredictor

class Predictor(BasePredictor):
    def setup(self):
        print("loading weights")

    def predict(self, hold: str = "") -> str:
        while hold and not os.path.exists(hold):
            time.sleep(0.01)
        return "done"
"""
BROKEN = """
from cog import BasePredictor, Input

class Predictor(BasePredictor):
    def predict(self, n=Input(default="how many", ge=1, le=100)) -> str:
        return "x"
"""


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "predict.py").write_text(MODEL)
    return folder


async def command(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        COGFLARE,
        "agent",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode()


async def printed(process: asyncio.subprocess.Process, word: str) -> str:
    """What the process prints, up to the line with this word."""
    lines = ""
    async with asyncio.timeout(30):
        while word not in lines:
            line = await process.stdout.readline()
            assert line, lines
            lines += line.decode()
    return lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--server", "example.org", "--token", "t", "--model", "a/b=."), "--server"),
        (("--server", "http://[x", "--token", "t", "--model", "a/b=."), "--server 'http://[x': expected"),
        (("--server", "http://x:99999", "--token", "t", "--model", "a/b=."), "http://HOST[:PORT]"),
        (("--server", "http://x", "--token", "t", "--model", "Upper/b=."), "not owner/name"),
        (("--server", "http://x", "--token", "t", "--model", "a/b"), "OWNER/NAME=DIR"),
        (("--server", "http://x", "--token", "t", "--model", "a/b=/nowhere"), "no such folder"),
        (("--server", "http://x", "--token", "t", "--model", "a/b=.", "--version", "12"), "64 hex"),
        (("--server", "http://x", "--token", "t", "--model", "a/b=.", "--name", "a\nb"), "--name"),
        (
            ("--server", "http://x", "--token", "t", "--model", "a/b=.", "--allow-private", "10"),
            "--allow-private",
        ),
    ],
)
async def test_wrong_settings_are_one_line(arguments, said, tmp_path):
    code, out = await ended(await command(*arguments, "--state", str(tmp_path / "state")))
    assert code == 2
    assert said in out
    assert "Traceback" not in out
    assert len(out.strip().splitlines()) == 1


async def test_a_person_sees_what_happens_and_sigterm_drains(model, tmp_path):
    async with wire_server() as server:
        hold = tmp_path / "go"
        process = await command(
            *("--server", server.url, "--model", f"acme/m={model}", "--state", str(tmp_path / "state")),
            COGFLARE_TOKEN="sEcReT",
        )
        await server.attach()
        assert server.tokens == ["Bearer sEcReT"]
        await server.dispatch("p1", {"hold": str(hold)})
        await server.next(m.Accepted)
        process.send_signal(signal.SIGTERM)
        early = await printed(process, "draining")
        await server.dispatch("p2", {})
        assert (await server.next(m.Refused)).reason == "draining"
        hold.touch()
        finished = await server.next(m.Finished)
        await server.ack(finished)
        code, out = await ended(process)
        out = early + out
        assert code == 0, out
        for line in (
            f"connected to {server.url}",
            "[acme/m] loading weights",
            "serving acme/m",
            "p1: succeeded",
        ):
            assert line in out
        assert "sEcReT" not in out
        assert "Traceback" not in out
        assert not (tmp_path / "state" / "work").exists()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_that_is_not_there_is_told_in_words(host, model, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # of nobody, once it is closed
    process = await command(
        *("--server", f"http://{host}:{port}", "--token", "t", "--model", f"acme/m={model}"),
        *("--state", str(tmp_path / "state")),
    )
    line = (await printed(process, "no connection to")).splitlines()[-1]
    assert f"no connection to http://{host}:{port}: Connection refused; trying again" in line
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[0] == 0


async def test_two_signals_leave_at_once(model, tmp_path):
    async with wire_server() as server:
        process = await command(
            *("--server", server.url, "--token", "t", "--model", f"acme/m={model}"),
            *("--state", str(tmp_path / "state")),
        )
        await server.attach()
        await server.dispatch("p1", {"hold": str(tmp_path / "never")})
        await server.next(m.Accepted)
        process.send_signal(signal.SIGTERM)
        await printed(process, "draining")
        process.send_signal(signal.SIGINT)
        assert (await server.next(m.Refused)).prediction == "p1"
        code, out = await ended(process)
        assert code == 1, out


async def test_a_wrong_predictor_is_shown_and_ends_it(tmp_path):
    (tmp_path / "predict.py").write_text(BROKEN)
    async with wire_server() as server:
        process = await command(
            *("--server", server.url, "--token", "t", "--model", f"acme/m={tmp_path}"),
            *("--state", str(tmp_path / "state")),
        )
        code, out = await ended(process)
        assert code == 1
        assert "n=Input(default=" in out
        assert "Traceback" not in out


async def test_a_directory_serves_one_agent(model, tmp_path):
    async with wire_server() as server:
        arguments = ("--server", server.url, "--token", "t", "--model", f"acme/m={model}")
        first = await command(*arguments, "--state", str(tmp_path / "state"))
        await server.attach()
        code, out = await ended(await command(*arguments, "--state", str(tmp_path / "state")))
        assert (code, len(out.splitlines())) == (2, 1)
        assert "another agent" in out
        first.send_signal(signal.SIGTERM)
        assert (await ended(first))[0] == 0


async def test_install_gives_each_model_what_its_config_lists(tmp_path):
    needing = write_model(tmp_path / "needing")
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    (tmp_path / "plain").mkdir()
    config = f"build: {{python_version: '{own}'}}\npredict: p.py:Predictor\n"
    (tmp_path / "plain" / "cog.yaml").write_text(config)
    (tmp_path / "plain" / "p.py").write_text(
        "import sys\nclass Predictor:\n    def predict(self) -> str:\n        return sys.prefix\n"
    )
    async with wire_server() as server:
        process = await command(
            *("--server", server.url, "--token", "t", "--install", "--cache", str(tmp_path / "cache")),
            *("--model", f"acme/needing={needing}", "--model", f"acme/plain={tmp_path / 'plain'}"),
            *("--state", str(tmp_path / "state")),
        )
        early = await printed(process, "connected to")
        outputs = {}
        for id, attach in (("p1", await server.attach()), ("p2", await server.attach())):
            given = {"name": "you"} if attach.model == "acme/needing" else {}
            await server.dispatch(id, given, channel=attach.channel)
            finished = await server.next(m.Finished)
            outputs[attach.model] = bytes(finished.output)
            await server.ack(finished)
        process.send_signal(signal.SIGTERM)
        code, late = await ended(process)
        assert code == 0, late
    out = early + late
    assert "also lists system_packages (ffmpeg) and run (1 command): that is left to you" in out
    assert "Successfully installed greeting-1.0" in out
    assert outputs["acme/needing"] == b'"hello you"'
    assert str(tmp_path / "cache" / "environments").encode() in outputs["acme/plain"]


async def test_without_install_a_missing_module_and_another_python_are_one_line_each(tmp_path):
    model = write_model(tmp_path / "model")
    config = (model / "cog.yaml").read_text()
    (model / "cog.yaml").write_text(config.replace("build:", 'build:\n  python_version: "3.99"'))
    async with wire_server() as server:
        process = await command(
            *("--server", server.url, "--token", "t", "--model", f"acme/m={model}"),
            *("--state", str(tmp_path / "state")),
        )
        out = await printed(process, "next try in")
        process.send_signal(signal.SIGTERM)
        await ended(process)
    assert "wants Python 3.99, and this is" in out
    last = out.splitlines()[-1]
    assert f"{sys.executable} has no module greeting: `cogflare agent ... --install` runs the model" in last


async def test_a_signal_while_it_is_installing_leaves_nothing(tmp_path):
    model = write_model(tmp_path / "model")
    (model / "parts" / "greeting" / ".hold").touch()
    process = await command(
        *("--server", "http://127.0.0.1:1", "--token", "t", "--model", f"acme/m={model}"),
        *("--install", "--cache", str(tmp_path / "cache"), "--state", str(tmp_path / "state")),
    )
    await asyncio.to_thread(until, lambda: builds(model), "pip builds the package")
    process.send_signal(signal.SIGTERM)
    code, out = await ended(process)
    assert code == 143, out
    assert not list(tmp_path.glob("cache/environments/*/tree-*"))


async def test_an_environment_that_cannot_be_made_ends_it(tmp_path):
    model = write_model(tmp_path / "model")
    (model / "requirements.txt").write_text("--no-index\nno-such-package-of-ours\n")
    code, out = await ended(
        await command(
            *("--server", "http://127.0.0.1:1", "--token", "t", "--model", f"acme/m={model}"),
            *("--install", "--cache", str(tmp_path / "cache"), "--state", str(tmp_path / "state")),
        )
    )
    assert code == 1
    assert out.splitlines()[-1].startswith("cogflare agent: pip could not install what ")
    assert "Traceback" not in out
