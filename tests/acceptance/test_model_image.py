"""infra/model-image: the steps of its Dockerfile, carried out below a folder, and what the image then does.

There is no container: the base image is this machine, the agent's dependencies are those of the tests, and
nothing is fetched. All else is done as it is written.
"""

import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from edge.options import options_of
from edge.quantities import parse_duration
from gpu_agent.interpreters import own_version, probe
from gpu_agent.settings import AgentSettings
from tests.support.commands import REPOSITORY, Command, Server, until
from tests.support.dockerfile import Built, instructions, let_through
from tests.support.local_package import write_model

FOLDER = REPOSITORY / "infra" / "model-image"
DOCKERFILE = FOLDER / "Dockerfile"
STEPS = list(instructions(DOCKERFILE))
PAGE = (REPOSITORY / "docs" / "how-to" / "container.md").read_text("utf-8")
PLACES = ("/opt/cogflare", "/opt/models", "/data", "/model", "/src", "/tmp/pip", "/usr/local/bin")
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "false"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the image's system is Linux")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("image")
    model = write_model(tmp_path_factory.mktemp("contexts") / "model")
    (model / "cog.yaml").write_text(
        f'build:\n  python_version: "{own_version()}"\n  python_requirements: requirements.txt\n'
        "predict: predict.py:Predictor\n"
    )
    source = let_through(FOLDER / "Dockerfile.dockerignore", REPOSITORY, model.with_name("source"))
    python = probe(sys.executable)
    assert python is not None
    built = Built(root, {place: f"{root}{place}" for place in PLACES} | {"/usr/bin/python3": python.path})
    for made in ("/opt/models", "/data", "/usr/local/bin"):
        Path(built.mine(made)).mkdir(parents=True)
    for step in STEPS:
        if step.stage == "system":
            continue  # the distribution's packages and the user: this machine has them
        built.carry_out(step, {"": source, "model": model}, build=OFFLINE if step.stage == "agent" else None)
        if step.stage == "agent" and step.word == "RUN":
            (site,) = root.glob("opt/cogflare/lib/python*/site-packages")
            (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return built


def start(image: Built, stack: ExitStack, *command: str, **variables: str) -> Command:
    """A container of the image: its entry point with this command, or with its own."""
    program, *before = image.entrypoint
    words = [*before, *(map(image.mine, command) if command else image.command)]
    started = Command(*words, environment={**image.variables(), **variables}, program=program)
    stack.callback(started.close)
    return started


def test_the_agent_serves_the_model_from_two_environments(
    image: Built, serve: Callable[..., Server], stack: ExitStack
) -> None:
    server = serve()
    agent = start(
        image,
        stack,
        COGFLARE_SERVER=server.url,
        COGFLARE_TOKEN=server.token(worker=True),
        COGFLARE_MODEL=image.mine("me/greeting=/model"),
    )
    agent.line("serving .*me/greeting")
    assert not [line for line in agent.lines if "making its environment" in line]
    calls = server.calls()
    assert calls.ended(calls.create("me/greeting", {"name": "image"})["id"])["output"] == "hello image"
    assert (image.root / "data" / "state" / "agent-id").is_file()
    agent.process.send_signal(signal.Signals[image.signal])
    assert agent.process.wait(30) == 0
    assert any("draining" in line for line in agent.lines)


def test_a_signal_of_the_container_lets_the_model_finish(
    image: Built, serve: Callable[..., Server], stack: ExitStack, tmp_path: Path
) -> None:
    model = tmp_path / "slow"
    model.mkdir()
    (model / "predict.py").write_text(
        "import os, time\n\n"
        "def predict(go: str) -> str:\n"
        "    while not os.path.exists(go):\n"
        "        time.sleep(0.01)\n"
        "    return 'done'\n"
    )
    (model / "cog.yaml").write_text("predict: predict.py:predict\n")
    server = serve()
    agent = start(
        image,
        stack,
        COGFLARE_SERVER=server.url,
        COGFLARE_TOKEN=server.token(worker=True),
        COGFLARE_MODEL=f"me/slow={model}",
        COGFLARE_CACHE=str(tmp_path / "cache"),
    )
    agent.line("serving .*me/slow")
    calls = server.calls()
    made = calls.create("me/slow", {"go": str(tmp_path / "go")})
    agent.line("started")
    agent.process.send_signal(signal.Signals[image.signal])
    agent.line("draining")
    (tmp_path / "go").touch()
    assert calls.ended(made["id"])["output"] == "done"
    assert agent.process.wait(30) == 0


def test_the_same_image_speaks_cogs_own_api(image: Built, stack: ExitStack) -> None:
    (line,) = re.findall(r"sdxl (cogflare cog-server .*)$", PAGE, re.MULTILINE)
    command = line.replace("0.0.0.0", "127.0.0.1").split()
    server = start(image, stack, *command, COGFLARE_PORT="0")
    url = server.line(r"listening on (http://\S+)")[1]

    until(lambda: httpx.get(f"{url}/health-check").json()["status"] == "READY", "the model is ready")
    assert httpx.post(f"{url}/predictions", json={"input": {"name": "cog"}}).json()["output"] == "hello cog"
    server.process.send_signal(signal.Signals[image.signal])
    assert server.process.wait(30) == 0


def test_neither_interpreter_sees_the_other_ones_packages(image: Built) -> None:
    def origin(interpreter: Path, module: str) -> Path | None:
        command = [interpreter, "-I", "-c", f"import {module}; print({module}.__file__)"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return Path(done.stdout.rstrip("\n")) if done.returncode == 0 else None

    (models,) = image.root.glob("opt/models/environments/*/venv/bin/python")
    agents = image.root / "opt" / "cogflare" / "bin" / "python"
    for python, own, foreign in ((models, "greeting", "gpu_agent"), (agents, "gpu_agent", "greeting")):
        found = origin(python, own)
        assert found is not None
        assert found.is_relative_to(image.root)
        assert origin(python, foreign) is None


def test_no_layer_holds_a_secret_and_none_runs_as_root() -> None:
    names = {option.environment for option in options_of(AgentSettings)}
    text = DOCKERFILE.read_text("utf-8")
    assert set(re.findall(r"COGFLARE_\w+(?==)", text)) <= names
    assert "TOKEN" not in text
    users = [step.rest for step in STEPS if step.word == "USER"]
    assert users == ["10001", "${RUN_AS}"]
    assert [step.rest for step in STEPS if step.word == "ARG"][-1] == "RUN_AS=10001"


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_page_says_waits_longer_than_the_agent() -> None:
    drain_s = AgentSettings.__dataclass_fields__["drain_s"].default
    waits = re.findall(r"--stop-timeout (\d+)|stop_grace_period: (\w+)", PAGE)
    assert len(waits) >= 2
    assert all(parse_duration(one or other) > drain_s for one, other in waits)


def test_the_compose_file_of_the_page() -> None:
    (text,) = re.findall(r"^```yaml\n(services:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (agent,) = yaml.safe_load(text)["services"].values()
    (device,) = agent["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert agent["env_file"]
    assert "environment" not in agent
    assert any(volume.endswith(":/data") for volume in agent["volumes"])
