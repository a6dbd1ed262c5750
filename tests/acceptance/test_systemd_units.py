"""infra/systemd: the units are what systemd takes, and what they start works and leaves as they say."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.protocol.limits import ServerLimits
from edge.exits import ExitCode
from edge.options import options_of
from edge.settings import ServeSettings
from gpu_agent.settings import AgentSettings
from tests.conftest import WAITER, Trace
from tests.support.commands import COGFLARE, REPOSITORY, Command, Server
from tests.support.unit_file import INSTALLED, Unit

FOLDER = REPOSITORY / "infra" / "systemd"
NAMES = sorted(path.name for path in FOLDER.glob("*.service"))
AGENTS = [name for name in NAMES if "agent" in name]
NEWER = {254: ("RestartSteps", "RestartMaxDelaySec")}
"""Version of systemd -> settings that it was the first to know; older ones say so, and go on."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is of Linux")


def edited(name: str, folder: Path, **values: str) -> Path:
    """An environment file as it is in the repository, with these values written into it."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    known = {line.partition("=")[0] for line in lines}
    assert set(values) <= known, f"{name} has no line for {set(values) - known}"
    kept = [line for line in lines if line.partition("=")[0] not in values]
    path = folder / name
    path.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in values.items()), ""]))
    return path


def specifiers(folder: Path, instance: str = "") -> Mapping[str, str]:
    return {"S": str(folder / "lib"), "C": str(folder / "cache"), "i": instance, "l": "box"}


def systemd_version() -> int:
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True)
    return int(said.stdout.split()[1])


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name
    unit.write_text((FOLDER / name).read_text("utf-8").replace(INSTALLED, COGFLARE))
    command = ["systemd-analyze", "verify", "--man=no", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    unknown = [each for version, names in NEWER.items() if systemd_version() < version for each in names]
    said = [
        line
        for line in done.stderr.splitlines()
        if not any(f"Unknown key '{each}' in section [Service]" in line for each in unknown)
    ]
    assert not said
    assert done.returncode == 0


def test_a_mistyped_setting_would_be_seen(tmp_path: Path) -> None:
    unit = tmp_path / "wrong.service"
    unit.write_text(f"[Service]\nExecStart={COGFLARE} serve\nTimeoutStopSecs=1\n")
    command = ["systemd-analyze", "verify", "--man=no", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Unknown key 'TimeoutStopSecs'" in done.stderr


def test_the_agents_signal_lets_what_runs_finish(
    serve: Callable[..., Server], stack: ExitStack, tmp_path: Path, trace: Trace
) -> None:
    server = serve()
    unit = Unit.read(FOLDER / "cogflare-agent.service")
    settings = edited(
        "agent.env",
        tmp_path,
        COGFLARE_SERVER=server.url,
        COGFLARE_TOKEN=server.token(worker=True),
        COGFLARE_MODEL=WAITER,
    )
    agent = unit.start(specifiers(tmp_path), {"/etc/cogflare/agent.env": settings})
    stack.callback(agent.close)
    agent.line("serving .*test/waiter")
    calls = server.calls()
    made = calls.create("test/waiter", trace.input("a"))
    agent.line("started")
    assert unit.one("KillMode") == "mixed"  # the signal is for the agent, not for its models
    agent.process.send_signal(signal.Signals[unit.one("KillSignal")])
    agent.line("draining")
    trace.go("a")
    assert calls.ended(made["id"])["status"] == "succeeded"
    assert agent.process.wait(30) == 0
    assert (tmp_path / "lib" / unit.one("StateDirectory") / "state" / "agent-id").is_file()
    assert list((tmp_path / "cache" / unit.one("CacheDirectory")).glob("cogflare/environments/*/venv"))


def test_each_instance_has_its_model_its_card_and_its_name(
    serve: Callable[..., Server], stack: ExitStack, tmp_path: Path
) -> None:
    server = serve()
    unit = Unit.read(FOLDER / "cogflare-agent@.service")
    common = edited(
        "agent.env", tmp_path, COGFLARE_SERVER=server.url, COGFLARE_TOKEN=server.token(worker=True)
    )
    model = tmp_path / "card"
    model.mkdir()
    (model / "predict.py").write_text(
        "import os\n\ndef predict() -> str:\n    return os.environ['CUDA_VISIBLE_DEVICES']\n"
    )
    (model / "cog.yaml").write_text("predict: predict.py:predict\n")
    agents: list[Command] = []
    for card in ("0", "1"):
        folder = tmp_path / f"etc-{card}"
        folder.mkdir()
        own = edited(
            "agent-0.env", folder, COGFLARE_MODEL=f"me/card-{card}={model}", CUDA_VISIBLE_DEVICES=card
        )
        files = {"/etc/cogflare/agent.env": common, f"/etc/cogflare/agent-{card}.env": own}
        agents.append(unit.start(specifiers(tmp_path, card), files))
        stack.callback(agents[-1].close)
    calls = server.calls()
    for card, agent in zip(("0", "1"), agents, strict=True):
        agent.line(f"serving me/card-{card}")
        agent.line(f"connected to .* as box-{card}")
        assert calls.ended(calls.create(f"me/card-{card}", {})["id"])["output"] == card
    for agent in agents:
        agent.process.send_signal(signal.Signals[unit.one("KillSignal")])
        assert agent.process.wait(30) == 0


def test_the_server_leaves_in_order(stack: ExitStack, tmp_path: Path) -> None:
    unit = Unit.read(FOLDER / "cogflare.service")
    settings = edited("server.env", tmp_path, COGFLARE_PUBLIC_URL="http://127.0.0.1:1")
    with settings.open("a") as file:
        file.write("COGFLARE_PORT=0\n")
    (tmp_path / "lib").mkdir()
    server = unit.start(specifiers(tmp_path), {"/etc/cogflare/server.env": settings})
    stack.callback(server.close)
    server.line("is ready")
    assert (tmp_path / "lib" / unit.one("StateDirectory") / "control.db").is_file()
    server.process.send_signal(signal.Signals[unit.one("KillSignal")])
    assert server.process.wait(30) == 0


def test_systemd_waits_longer_than_they_need_to_leave() -> None:
    drain_s = AgentSettings.__dataclass_fields__["drain_s"].default
    assert all(Unit.read(FOLDER / name).seconds("TimeoutStopSec") > drain_s for name in AGENTS)
    assert Unit.read(FOLDER / "cogflare.service").seconds("TimeoutStopSec") > ServerLimits().drain_s


@pytest.mark.parametrize("name", AGENTS)
def test_nothing_keeps_cuda_from_its_devices_and_its_memory(name: str) -> None:
    names = {each for _, each, _ in Unit.read(FOLDER / name).settings}
    assert not names & {"PrivateDevices", "DevicePolicy", "DeviceAllow", "MemoryDenyWriteExecute"}


def test_both_units_of_agents_differ_only_in_what_makes_an_instance() -> None:
    plain, instance = (set(Unit.read(FOLDER / name).settings) for name in AGENTS)
    assert {each for _, each, _ in plain ^ instance} == {"Description", "Environment", "EnvironmentFile"}


def test_what_is_not_tried_again_is_what_a_person_must_mend() -> None:
    codes = Unit.read(FOLDER / "cogflare.service").one("RestartPreventExitStatus").split()
    wanted = (ExitCode.USAGE, ExitCode.SCHEMA_TOO_NEW, ExitCode.TLS, ExitCode.NOT_INSTALLED)
    assert codes == [str(int(code)) for code in wanted]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("agent.env", AgentSettings), ("agent-0.env", AgentSettings), ("server.env", ServeSettings)],
)
def test_every_variable_of_an_environment_file_is_an_option(name: str, settings: type) -> None:
    variables = re.findall(r"^#?(COGFLARE_\w+)=", (FOLDER / name).read_text("utf-8"), re.MULTILINE)
    assert variables
    assert set(variables) <= {option.environment for option in options_of(settings)}
