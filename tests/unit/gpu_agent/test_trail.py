from coordinator.protocol.messages import Trace
from coordinator.protocol.traces import Span
from gpu_agent.trail import Trail

TRACE, ATTEMPT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def trace(flags: str = "01") -> Trace:
    return Trace(parent=f"00-{TRACE}-{ATTEMPT}-{flags}", since=1_000)


def test_steps_are_below_the_agent_and_that_below_the_attempt() -> None:
    told: list[Span] = []
    trail = Trail(told.append, trace(), {"cogflare.attempt": 1})
    with trail.step("run") as run:
        trail.predicted(run, 5, 9, {"predict_time": 0.5, "deep": {"no": 1}})
    trail.end("failed", "model_error")
    trail.end("failed", "model_error")  # once is enough

    spans = {span.name: span for span in told}
    assert [span.name for span in told] == ["predict", "run", "agent"]
    assert {span.trace_id for span in told} == {TRACE}
    assert spans["agent"].parent_id == ATTEMPT
    assert spans["run"].parent_id == spans["agent"].span_id
    assert spans["predict"].parent_id == spans["run"].span_id
    assert (spans["predict"].began_at, spans["predict"].ended_at) == (5, 9)
    assert spans["predict"].attributes == {"cogflare.attempt": 1, "cogflare.metrics.predict_time": 0.5}
    assert spans["agent"].error == "model_error"


def test_a_step_that_fails_says_how() -> None:
    told: list[Span] = []
    trail = Trail(told.append, trace(), {})
    try:
        with trail.step("files"):
            raise TimeoutError
    except TimeoutError:
        pass
    assert [(span.name, span.error) for span in told] == [("files", "TimeoutError")]


def test_a_setup_is_told_of_if_the_prediction_waited_for_it() -> None:
    told: list[Span] = []
    trail = Trail(told.append, trace(), {})
    trail.setup(100, 900)
    trail.setup(100, 1_100)
    assert [(span.name, span.began_at, span.ended_at) for span in told] == [("setup", 100, 1_100)]


def test_nothing_is_told_of_what_nobody_traces() -> None:
    told: list[Span] = []
    for trail in (
        Trail(told.append, None, {}),
        Trail(told.append, trace("00"), {}),
        Trail(None, trace(), {}),
    ):
        trail.setup(1, 10**15)
        with trail.step("run"):
            pass
        trail.end("succeeded", None)
    assert not told
