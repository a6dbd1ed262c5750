"""An agent whose model can be trained, with real processes, against a scripted server."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from coordinator.protocol import messages as m
from gpu_agent import line, trainer
from gpu_agent.model_dir import ModelDir
from gpu_agent.runner import Runner
from gpu_agent.runner_types import Loaded
from tests.support.agent_rig import WORDS, Rig, value
from tests.support.waiting import until
from tests.support.wire_server import WireServer, wire_server

PUPIL, TRAINS = "acme/pupil", "acme/pupil@train"
TRAIN = """
import os, time
from cog import BaseModel, Input

class TrainingOutput(BaseModel):
    process: int
    lesson: str

def train(lesson: str = Input(min_length=1), hold: str = "", broken: bool = False) -> TrainingOutput:
    print(f"learning {lesson}")
    while hold and not os.path.exists(hold):
        time.sleep(0.01)
    if broken:
        os._exit(7)
    return TrainingOutput(process=os.getpid(), lesson=lesson)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(line, "FIRST_RETRY_S", 0.005)
    monkeypatch.setattr(trainer, "STOP_GRACE_S", 0.5)


@pytest.fixture
async def server():
    async with wire_server() as server:
        server.protocol = m.VERSION
        yield server


@pytest.fixture
async def rig(server, tmp_path):
    rig = Rig(server, tmp_path)
    yield rig
    await rig.stop()


def start(rig: Rig, train: str | None = TRAIN, **settings: bool) -> None:
    place = rig.folder / "acme-pupil"
    place.mkdir()
    (place / "cog.yaml").write_text("predict: predict.py:Predictor\ntrain: train.py:train\n")
    if train is not None:
        (place / "train.py").write_text(train)
    rig.start((PUPIL, WORDS), **settings)


async def attached(server: WireServer) -> tuple[m.Attach, m.Attach]:
    """The model, once it is ready, and its trainings."""
    while (model := await server.attach(model=PUPIL)).state != "ready":
        pass
    return model, await server.attach(model=TRAINS)


async def test_a_training_takes_a_slot_from_predictions(server, rig, tmp_path):
    start(rig)
    model, training = await attached(server)
    assert (training.version, training.openapi_schema) == (model.version, model.openapi_schema)
    assert (training.concurrency, training.granted, training.shared, model.shared) == (1, 1, True, True)
    hold = tmp_path / "go"
    await server.dispatch("t1", {"lesson": "a", "hold": str(hold)}, channel=training.channel)
    await server.next(m.Accepted, prediction="t1")
    await server.dispatch("p", {"words": 1}, channel=model.channel)
    assert (await server.next(m.Refused)).reason == "busy"
    await server.dispatch("t2", {"lesson": "b"}, channel=training.channel)
    assert (await server.next(m.Refused)).reason == "busy"
    hold.touch()
    first = await server.next(m.Finished, prediction="t1")
    assert (first.status, first.logs) == ("succeeded", "learning a\n")
    await server.dispatch("t3", {"lesson": "c"}, channel=training.channel)
    second = await server.next(m.Finished, prediction="t3")
    processes = [value(each.output)["process"] for each in (first, second)]
    assert processes[0] != processes[1]
    await until(lambda: not any(map(_lives, processes)), "their processes are gone")
    await server.dispatch("p", {"words": 1}, channel=model.channel, attempt=2)
    assert value((await server.next(m.Finished, prediction="p")).output) == ["w0 ", "end"]


async def test_a_server_of_version_3_hears_nothing_of_trainings(server, rig):
    server.protocol = 3
    start(rig)
    while (model := await server.attach(model=PUPIL)).state != "ready":
        pass
    await server.dispatch("p", {"words": 0}, channel=model.channel)
    await server.next(m.Finished, prediction="p")
    assert [each.model for each in server.pending(m.Attach)] == []


async def test_an_agent_may_take_predictions_only(server, rig):
    start(rig, no_trainings=True)
    while (model := await server.attach(model=PUPIL)).state != "ready":
        pass
    assert not model.shared
    await server.dispatch("p", {"words": 0}, channel=model.channel)
    await server.next(m.Finished, prediction="p")
    assert server.pending(m.Attach) == []


async def test_how_trainings_end_that_do_not_succeed(server, rig, tmp_path):
    start(rig)
    _, training = await attached(server)
    channel, hold = training.channel, str(tmp_path / "never")
    await server.dispatch("wrong", {"lesson": ""}, channel=channel)
    wrong = await server.next(m.Finished, prediction="wrong")
    assert (wrong.status, wrong.error_code) == ("failed", "invalid_input")
    await server.dispatch("dies", {"lesson": "a", "broken": True}, channel=channel)
    dies = await server.next(m.Finished, prediction="dies")
    assert (dies.status, dies.error_code, dies.logs) == ("failed", "runner_crashed", "learning a\n")
    await server.dispatch("late", {"lesson": "a", "hold": hold}, channel=channel, run_s=1.0)
    late = await server.next(m.Finished, prediction="late")
    assert (late.status, late.error_code) == ("failed", "run_timeout")
    await server.dispatch("unwanted", {"lesson": "a", "hold": hold}, channel=channel)
    await server.next(m.Progress, prediction="unwanted")
    await server.send(m.Cancel(channel=channel, prediction="unwanted", attempt=1, grace_s=5.0))
    assert (await server.next(m.Finished, prediction="unwanted")).status == "canceled"


async def test_what_trains_is_looked_up_for_each_training(server, rig):
    start(rig)
    _, training = await attached(server)
    (rig.folder / "acme-pupil" / "train.py").write_text("import nothing_of_this_name\n")
    await server.dispatch("t", {"lesson": "a"}, channel=training.channel)
    finished = await server.next(m.Finished, prediction="t")
    assert (finished.status, finished.error_code) == ("failed", "model_error")
    assert "has no module nothing_of_this_name" in finished.error


async def test_a_model_whose_trainer_is_not_there_only_predicts(server, rig):
    start(rig, None)
    while (model := await server.attach(model=PUPIL)).state != "ready":
        pass
    assert "TrainingInput" not in value(model.openapi_schema)["components"]["schemas"]
    await server.dispatch("p", {"words": 0}, channel=model.channel)
    await server.next(m.Finished, prediction="p")
    assert server.pending(m.Attach) == []


async def test_what_a_crash_left_of_a_training_is_delivered_by_the_next_process(server, rig):
    start(rig)
    _, training = await attached(server)
    await server.dispatch("t", {"lesson": "a"}, channel=training.channel)
    before = await server.next(m.Finished, prediction="t")
    await rig.stop()
    await server.disconnected()
    server.forget()
    rig.start((PUPIL, WORDS))
    again = await server.attach(model=TRAINS)
    assert [(held.prediction, held.state) for held in again.held] == [("t", "finished")]
    finished = await server.next(m.Finished, prediction="t")
    assert (finished.secret, finished.output) == (before.secret, before.output)


def _lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists() and os.getpid() != process


async def test_a_cancel_in_the_moment_after_the_start_is_not_lost(tmp_path: Path) -> None:
    """When the process is ready, and nobody has looked yet."""
    (tmp_path / "train.py").write_text(TRAIN)
    model = ModelDir.read(tmp_path, predict_ref="train.py:train", versioned=False)

    class Quick(Runner):
        async def start(self) -> Loaded:
            loaded = await super().start()
            asyncio.get_running_loop().call_soon(runs.cancel, "t", 5.0)
            return loaded

    runs = trainer.Trainer(
        lambda: Quick(model, python=sys.executable, work_dir=tmp_path / "work", mode="train")
    )
    hold = {"lesson": "a", "hold": str(tmp_path / "never")}
    try:
        async with asyncio.timeout(10):
            result = await runs.predict("t", hold, lambda _: None)
    finally:
        await runs.stop()
    assert result.status == "canceled"
