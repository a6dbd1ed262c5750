"""A whole agent with a real runner against a scripted server: what cuts, crashes and drains leave of work."""

import asyncio
from pathlib import Path

import pytest

from coordinator.protocol import messages as m
from coordinator.protocol.limits import WireLimits
from gpu_agent import line, report, serving
from gpu_agent.serving import PredictorRefused
from tests.support.agent_rig import WORDS, Rig, value
from tests.support.waiting import until
from tests.support.wire_server import WireServer, wire_server

SHARED = """
import asyncio, os, time
from cog import BasePredictor, concurrent

class Predictor(BasePredictor):
    @concurrent(max=2)
    async def predict(self, mark: str, stubborn: bool = False) -> str:
        open(mark, "a").close()
        while stubborn:
            try:
                time.sleep(600)
            except BaseException:
                pass
        while not os.path.exists(mark + ".go"):
            await asyncio.sleep(0.01)
        return "done"
"""
REFUSED = """
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, text) -> str:
        return text
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(line, "FIRST_RETRY_S", 0.005)
    monkeypatch.setattr(line, "LAST_RETRY_S", 0.05)
    monkeypatch.setattr(serving, "STOP_GRACE_S", 0.5)


@pytest.fixture
async def server():
    async with wire_server() as server:
        yield server


@pytest.fixture
async def rig(server, tmp_path):
    rig = Rig(server, tmp_path)
    yield rig
    await rig.stop()


async def outputs(server: WireServer, prediction: str, count: int) -> None:
    """Wait until so many items of a prediction were told."""
    while count > 0:
        count -= sum(event.kind == "output" for event in await server.events(prediction, 1))


async def gone(path: Path) -> None:
    """Wait until a file is no more."""
    async with asyncio.timeout(20):
        while path.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.005)


async def test_a_prediction_from_dispatch_to_ack(server, rig, tmp_path):
    rig.start()
    attach = await server.attach()
    assert (attach.model, attach.concurrency, attach.granted, attach.held) == ("acme/words", 1, 1, ())
    assert "Input" in value(attach.openapi_schema)["components"]["schemas"]
    assert server.hellos[0].name == "box"
    await server.dispatch("p1", {"words": 2})
    accepted = await server.next(m.Accepted)
    finished = await server.next(m.Finished)
    assert finished.status == "succeeded", finished
    assert value(finished.output) == ["w0 ", "w1 ", "end"]
    assert finished.logs == "word 0\nword 1\n"
    assert finished.secret == "secret-p1-1"
    assert finished.started_at == accepted.started_at
    assert 0 <= value(finished.metrics["predict_time"]) < 10
    events = [event for message in server.pending(m.Progress) for event in message.events]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [value(event.data) for event in events if event.kind == "output"] == ["w0 ", "w1 ", "end"]
    assert "".join(value(event.data) for event in events if event.kind == "logs") == finished.logs
    spooled = list((tmp_path / "state" / "spool" / "srv_test").glob("p1-1.json"))
    assert len(spooled) == 1
    await server.ack(finished)
    await server.dispatch("p2", {"words": 0})
    await server.next(m.Finished, prediction="p2")
    await gone(spooled[0])


async def test_a_cut_in_the_middle_loses_nothing_and_runs_nothing_twice(server, rig, tmp_path):
    hold = tmp_path / "go"
    rig.start()
    await server.attach()
    await server.dispatch("p", {"words": 3, "hold": str(hold)})
    before = await server.events("p", 3)
    await server.next(m.Accepted)
    server.cut()
    await server.disconnected()
    server.forget()
    hold.touch()
    attach = await server.next(m.Attach)
    assert [(held.prediction, held.attempt, held.secret) for held in attach.held] == [("p", 1, "secret-p-1")]
    assert not server.pending(m.Finished)
    keep = m.Verdict(prediction="p", attempt=1, verdict="keep", from_seq=2)
    await server.send(m.Attached(channel=attach.channel, verdicts=(keep,)))
    finished = await server.next(m.Finished)
    after = [event for message in server.pending(m.Progress) for event in message.events]
    assert after[0].seq == 2
    assert [event.seq for event in after] == list(range(2, 2 + len(after)))
    assert value(before[1].data) == value(after[0].data)
    assert value(finished.output) == ["w0 ", "w1 ", "w2 ", "end"]
    assert not server.pending(m.Finished)


async def test_a_result_whose_ack_was_lost_comes_again(server, rig, monkeypatch):
    rig.start()
    await server.attach()
    await server.dispatch("p", {})
    first = await server.next(m.Finished)
    server.cut()
    attach = await server.attach()
    assert attach.held[0].state == "finished"
    again = await server.next(m.Finished)
    assert (again.secret, bytes(again.output)) == (first.secret, bytes(first.output))
    monkeypatch.setattr(report, "REPEAT_S", 0.01)
    assert (await server.next(m.Finished)).prediction == "p"
    monkeypatch.setattr(report, "REPEAT_S", 30.0)
    await server.ack(again)
    server.cut()
    assert (await server.attach()).held == ()


async def test_a_kept_result_is_delivered_by_the_next_process(server, rig, tmp_path):
    rig.start()
    await server.attach()
    await server.dispatch("p", {})
    await server.next(m.Finished)
    await rig.stop()
    server.forget()
    rig.start(("acme/other", WORDS))
    attach = await server.attach(model="acme/words")
    assert (attach.granted, attach.held[0].prediction) == (0, "p")
    finished = await server.next(m.Finished)
    assert (finished.secret, finished.channel) == ("secret-p-1", attach.channel)
    assert value(finished.output) == ["w0 ", "w1 ", "end"]
    await server.ack(finished)
    assert (await server.next(m.Detach)).channel == attach.channel
    assert len({hello.agent for hello in server.hellos}) == 1
    assert len({hello.incarnation for hello in server.hellos}) == 2
    await gone(tmp_path / "state" / "spool" / "srv_test" / "p-1.json")
    await rig.stop()
    rig.start()
    assert (await server.attach()).held == ()


async def test_a_kept_result_does_not_wait_for_setup(server, rig, tmp_path):
    rig.start()
    await server.attach()
    await server.dispatch("p", {})
    await server.next(m.Finished)
    await rig.stop()
    server.forget()
    slow = (
        WORDS
        + f"""
    def setup(self):
        while not os.path.exists({str(tmp_path / "set-up")!r}):
            time.sleep(0.01)
"""
    )
    rig.start(("acme/words", slow))
    early = await server.attach()
    assert early.granted == 0
    await server.next(m.Finished)
    (tmp_path / "set-up").touch()
    assert (await server.next(m.Detach)).channel == early.channel
    late = await server.attach()
    assert late.channel != early.channel
    assert late.granted == 1
    assert late.held[0].prediction == "p"


async def test_results_of_another_server_are_not_shown_to_this_one(server, rig):
    rig.start()
    await server.attach()
    await server.dispatch("p", {})
    await server.next(m.Finished)
    server.server_id = "srv_other"
    server.cut()
    assert (await server.attach()).held == ()
    server.server_id = "srv_test"
    server.cut()
    assert (await server.attach()).held[0].prediction == "p"


async def test_no_slot_no_work(server, rig, tmp_path):
    hold = tmp_path / "go"
    rig.start(("acme/one", WORDS), ("acme/two", WORDS))
    one, two = await server.attach(model="acme/one"), await server.attach(model="acme/two")
    assert (one.granted, two.granted) in [(1, 1)]
    await server.dispatch("p", {"hold": str(hold)}, channel=one.channel)
    await server.dispatch("q", {}, channel=two.channel)
    assert (await server.next(m.Refused)).reason == "busy"
    assert (await server.next(m.Credit, channel=two.channel)).granted == 0
    assert not server.pending(m.Refused)
    await server.dispatch("p", {"hold": str(hold)}, channel=one.channel)
    await server.next(m.Accepted, prediction="p")
    await server.next(m.Accepted, prediction="p")
    hold.touch()
    assert (await server.next(m.Finished)).prediction == "p"
    assert (await server.next(m.Credit, channel=two.channel, granted=2)).granted == 2


async def test_a_new_coordinator_asks_again_and_gets_the_same_attempt(server, rig, tmp_path):
    hold = tmp_path / "go"
    rig.start()
    attach = await server.attach()
    await server.dispatch("p", {"hold": str(hold)})
    await server.next(m.Accepted)
    await server.send(m.Reattach(channel=attach.channel))
    again = await server.attach()
    assert again.channel == attach.channel
    assert again.granted == 0
    assert again.held[0].state == "running"
    hold.touch()
    assert (await server.next(m.Finished)).status == "succeeded"


@pytest.mark.parametrize("verdict", ["cancel", "drop"])
async def test_verdicts_end_what_is_not_wanted(server, rig, tmp_path, verdict):
    rig.start()
    attach = await server.attach()
    await server.dispatch("p", {"hold": str(tmp_path / "never")})
    await server.events("p", 1)
    await server.send(m.Reattach(channel=attach.channel))
    await server.next(m.Attach)
    said = m.Verdict(prediction="p", attempt=1, verdict=verdict)
    await server.send(m.Attached(channel=attach.channel, verdicts=(said,)))
    if verdict == "cancel":
        assert (await server.next(m.Finished)).status == "canceled"
    else:
        await server.next(m.Credit, granted=1)
        assert not server.pending(m.Finished)
        server.cut()
        assert (await server.attach()).held == ()


async def test_cancel(server, rig, tmp_path):
    rig.start()
    await server.attach()
    await server.dispatch("p", {"hold": str(tmp_path / "never")})
    await outputs(server, "p", 2)
    await server.send(m.Cancel(channel=0, prediction="p", attempt=1, grace_s=5.0))
    finished = await server.next(m.Finished)
    assert finished.status == "canceled"
    assert value(finished.output) == ["w0 ", "w1 "]
    await server.send(m.Cancel(channel=0, prediction="unknown", attempt=1, grace_s=5.0))
    assert (await server.next(m.Refused)).reason == "unavailable"


async def test_a_failing_model_a_crash_and_the_time_limit(server, rig, tmp_path):
    rig.start()
    await server.attach()
    await server.dispatch("wrong", {"wrong": True})
    finished = await server.next(m.Finished, prediction="wrong")
    assert (finished.status, finished.error) == ("failed", "this is wrong")
    assert "Traceback" in finished.logs
    await server.dispatch("die", {"die": True})
    finished = await server.next(m.Finished, prediction="die")
    assert (finished.status, finished.error_code) == ("failed", "runner_crashed")
    assert value(finished.output) == ["w0 ", "w1 "]
    await server.next(m.Credit, granted=3)
    await server.dispatch("long", {"hold": str(tmp_path / "never")}, run_s=0.3)
    finished = await server.next(m.Finished, prediction="long")
    assert (finished.status, finished.error_code) == ("failed", "run_timeout")
    assert "0.3 s" in finished.error


async def test_what_was_killed_for_a_stubborn_neighbours_sake_is_given_back(server, rig, tmp_path):
    rig.start(("acme/shared", SHARED))
    await server.attach()
    await server.dispatch("calm", {"mark": str(tmp_path / "calm")})
    await until(lambda: (tmp_path / "calm").exists(), "it runs")
    await server.dispatch("stubborn", {"mark": str(tmp_path / "stubborn"), "stubborn": True})
    await until(lambda: (tmp_path / "stubborn").exists(), "it runs too")
    await server.send(m.Cancel(channel=0, prediction="stubborn", attempt=1, grace_s=0.1))
    assert (await server.next(m.Finished, prediction="stubborn")).status == "canceled"
    assert (await server.next(m.Refused, prediction="calm")).reason == "unavailable"
    await server.next(m.Credit, granted=4)
    (tmp_path / "calm.go").touch()
    await server.dispatch("calm", {"mark": str(tmp_path / "calm")}, attempt=2)
    assert (await server.next(m.Finished, prediction="calm", attempt=2)).status == "succeeded"


async def test_what_is_to_be_given_back_is_held_until_that_can_be_told(server, rig, tmp_path):
    rig.start(("acme/shared", SHARED))
    await server.attach()
    await server.dispatch("calm", {"mark": str(tmp_path / "calm")})
    await until(lambda: (tmp_path / "calm").exists(), "it runs")
    await server.dispatch("stubborn", {"mark": str(tmp_path / "stubborn"), "stubborn": True}, run_s=0.5)
    await until(lambda: (tmp_path / "stubborn").exists(), "it runs too")
    server.cut()
    channel = rig.agent._channels["acme/shared"]
    await until(lambda: channel._returning, "the process was ended", 15.0)
    attach = await server.attach()
    assert "calm" in {each.prediction for each in attach.held}
    assert (await server.next(m.Refused, prediction="calm")).reason == "unavailable"


async def test_an_output_over_the_limit_is_refused_with_its_number(server, rig):
    server.limits = WireLimits(result_bytes=100)
    rig.start()
    await server.attach()
    await server.dispatch("p", {"words": 50})
    finished = await server.next(m.Finished)
    assert (finished.status, finished.error_code) == ("failed", "output_too_large")
    assert "100 bytes" in finished.error


async def test_a_drain_finishes_delivers_and_leaves(server, rig, tmp_path):
    hold = tmp_path / "go"
    rig.start()
    await server.attach()
    await server.dispatch("p", {"hold": str(hold)})
    await server.next(m.Accepted)
    rig.agent.drain()
    await server.dispatch("q", {})
    assert (await server.next(m.Refused)).reason == "draining"
    hold.touch()
    finished = await server.next(m.Finished)
    assert not rig.task.done()
    await server.ack(finished)
    assert await rig.left() == 0
    await server.disconnected()


async def test_an_idle_agent_drains_at_once(server, rig):
    rig.start()
    await server.attach()
    rig.agent.drain()
    assert await rig.left() == 0


async def test_a_second_signal_gives_work_back(server, rig, tmp_path):
    rig.start()
    await server.attach()
    await server.dispatch("p", {"hold": str(tmp_path / "never")})
    await server.events("p", 1)
    rig.agent.drain()
    rig.agent.drain()
    refused = await server.next(m.Refused)
    assert (refused.prediction, refused.reason) == ("p", "draining")
    assert await rig.left() == 1
    assert not server.pending(m.Finished)


async def test_a_drain_ends_after_its_time(server, rig, tmp_path):
    rig.start(drain_s=0.1)
    await server.attach()
    await server.dispatch("p", {"hold": str(tmp_path / "never")})
    await server.events("p", 1)
    rig.agent.drain()
    assert (await server.next(m.Refused)).reason == "draining"
    assert await rig.left() == 1


async def test_a_wrong_predictor_ends_the_agent(server, rig):
    rig.start(("acme/wrong", REFUSED))
    with pytest.raises(ExceptionGroup) as caught:
        await rig.left()
    (error,) = caught.value.exceptions
    assert isinstance(error, PredictorRefused)
    assert "text" in str(error)


async def test_a_refused_model_does_not_stop_the_others(server, rig, caplog):
    rig.start(("acme/one", WORDS), ("acme/two", WORDS))
    one = await server.next(m.Attach, model="acme/one")
    await server.send(m.AttachRefused(channel=one.channel, code="not_allowed", detail="is someone else's"))
    two = await server.attach(model="acme/two")
    await server.dispatch("p", {}, channel=two.channel)
    assert (await server.next(m.Finished)).status == "succeeded"
    assert "acme/one is refused: is someone else's" in caplog.text


async def test_several_processes_for_a_sync_model(server, rig, tmp_path):
    rig.start(slots=2)
    attach = await server.attach()
    if attach.granted < 2:  # both processes may be ready by then
        await server.next(m.Credit, granted=2)
    for name in ("p", "q"):
        await server.dispatch(name, {"hold": str(tmp_path / name)})
    await server.events("p", 1)
    await server.events("q", 1)
    (tmp_path / "q").touch()
    assert (await server.next(m.Finished)).prediction == "q"
    (tmp_path / "p").touch()
    assert (await server.next(m.Finished)).prediction == "p"


async def test_a_model_that_loads_is_attached_as_such_and_again_when_it_is_ready(server, rig, tmp_path):
    server.protocol = 2
    rig.start(
        (
            "acme/slow",
            f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
            + WORDS,
        )
    )
    loading = await server.attach()
    assert (loading.state, loading.granted, loading.channel) == ("loading", 0, 0)
    assert loading.since is not None
    (tmp_path / "go").touch()
    await server.next(m.Detach, channel=0)
    ready = await server.attach()
    assert (ready.state, ready.granted, ready.channel, ready.version) == ("ready", 1, 1, loading.version)
    await server.dispatch("p", {"die": True}, channel=1)
    assert (await server.next(m.Finished)).error_code == "runner_crashed"
    assert (await server.next(m.ModelState)).state == "loading"
    assert (await server.next(m.ModelState)).state == "ready"


async def test_two_models_share_one_slot_by_demand(server, rig, tmp_path):
    server.protocol = 2
    rig.start(("acme/a", WORDS), ("acme/b", WORDS), slots=1)
    channels = {}
    while len(channels) < 2:
        attach = await server.attach()
        assert attach.shared
        if attach.state == "ready":
            channels[attach.model] = attach.channel
    granted = dict.fromkeys(channels.values(), 1)
    sent = dict.fromkeys(channels.values(), 0)
    server.forget()
    for channel in sent:
        await server.send(m.Demand(channel=channel, waiting=10))
    for number in range(6):
        while sum(granted.values()) != number + 1:
            credit = await server.next(m.Credit)
            granted[credit.channel] = credit.granted
        (offered,) = [channel for channel in sent if granted[channel] > sent[channel]]
        sent[offered] += 1
        await server.dispatch(f"p{number}", {"words": 0}, channel=offered)
        await server.next(m.Finished)
    assert not server.pending(m.Refused)
    assert min(sent.values()) >= 1, "by time, so runs of one may be more"


async def test_an_administrator_drains_a_channel(server, rig):
    server.protocol = 2
    rig.start()
    while (attach := await server.attach()).state == "loading":
        pass
    await server.send(m.Drain(channel=attach.channel, draining=True))
    await server.next(m.Credit, granted=0)
    await server.dispatch("p", {}, channel=attach.channel)
    assert (await server.next(m.Refused)).reason == "draining"
    await server.send(m.Drain(channel=attach.channel, draining=False))
    assert (await server.next(m.Credit)).granted > 0


async def test_an_attempt_of_a_server_that_was_set_back_is_not_taken_for_its_own(server, rig, tmp_path):
    hold = tmp_path / "go"
    rig.start()
    await server.attach()
    await server.dispatch("p", {"hold": str(hold)})
    await server.next(m.Accepted)
    await server.dispatch("p", {}, secret="of the restored server")
    assert (await server.next(m.Refused)).prediction == "p"
    assert not server.pending(m.Accepted)
    hold.touch()
    finished = await server.next(m.Finished)
    assert finished.secret == "secret-p-1"
    await server.ack(finished)
    await server.dispatch("p", {}, attempt=2)
    assert (await server.next(m.Finished)).attempt == 2
