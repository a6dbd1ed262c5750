"""Both ends of the wire, joined without a socket, and each row of their state tables."""

import msgspec
import pytest

from coordinator.protocol import messages as m
from coordinator.protocol.agent_session import AgentSession
from coordinator.protocol.channels import (
    AGENT_RECEIVES,
    AGENT_SENDS,
    SERVER_RECEIVES,
    SERVER_SENDS,
    ChannelState,
)
from coordinator.protocol.errors import (
    ChannelNotOpen,
    CloseCode,
    FrameTooLarge,
    ProtocolViolation,
    Silent,
)
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.server_session import ChannelMessage, Greeted, ServerSession

LIMITS = WireLimits()
HELLO = m.Hello(protocol=1, agent="a", incarnation="i", name="box", slots=1)


def attach(channel: int = 0, granted: int = 1) -> m.Attach:
    return m.Attach(
        channel=channel,
        model="o/n",
        version="0" * 64,
        openapi_schema=msgspec.Raw(b"{}"),
        cog_version="",
        concurrency=1,
        granted=granted,
    )


def dispatch(channel: int = 0, attempt: int = 1) -> m.Dispatch:
    return m.Dispatch(
        channel=channel, prediction="p", attempt=attempt, secret="s", input=msgspec.Raw(b"{}"), run_s=1
    )


def finished(channel: int = 0) -> m.Finished:
    return m.Finished(channel=channel, prediction="p", attempt=1, secret="s", status="succeeded")


def upload(channel: int = 0) -> m.Upload:
    return m.Upload(
        channel=channel,
        request=1,
        prediction="p",
        attempt=1,
        secret="s",
        name="n",
        content_type="t",
        length=1,
        sha256="x",
    )


SAMPLES: dict[type[m.Message], m.Message] = {
    type(sample): sample
    for sample in (
        attach(),
        m.Detach(channel=0),
        m.Credit(channel=0, granted=1),
        m.Accepted(channel=0, prediction="p", attempt=1, started_at=1),
        m.Refused(channel=0, prediction="p", attempt=1, reason="busy"),
        m.Progress(channel=0, prediction="p", attempt=1, events=()),
        finished(),
        upload(),
        m.ModelState(channel=0, state="loading", since=1),
        m.Drain(channel=0, draining=True),
        m.Demand(channel=0, waiting=1),
        m.Resend(channel=0, prediction="p1", attempt=1, from_seq=3),
        m.Attached(channel=0),
        m.AttachRefused(channel=0, code="c", detail="d"),
        m.Reattach(channel=0),
        dispatch(),
        m.Cancel(channel=0, prediction="p", attempt=1, grace_s=1),
        m.Ack(channel=0, prediction="p", attempt=1),
        m.UploadTo(channel=0, request=1, key="k", url="/u"),
        m.UploadRefused(channel=0, request=1, detail="d"),
    )
}


def server_open(limits: WireLimits = LIMITS) -> ServerSession:
    session = ServerSession(server_id="srv", limits=limits, now=0)
    (greeted,) = session.receive(m.encode(HELLO), 0)
    assert isinstance(greeted, Greeted)
    session.send(greeted.welcome)
    return session


def agent_open(limits: WireLimits = LIMITS) -> AgentSession:
    session = AgentSession(hello=HELLO, limits=limits, now=0)
    session.greet()
    session.receive(welcome(limits), 0)
    return session


def welcome(limits: WireLimits = LIMITS, protocol: int = 1) -> bytes:
    return m.encode(
        m.Welcome(
            protocol=protocol,
            server="srv",
            beat_s=limits.beat_s,
            silence_s=limits.silence_s,
            result_bytes=limits.result_bytes,
            log_bytes=limits.log_bytes,
            frame_bytes=limits.frame_bytes,
        )
    )


def server_in(state: ChannelState) -> ServerSession:
    session = server_open()
    _walk(state, lambda x: session.receive(m.encode(x), 0), session.send)
    assert session.channel(0) is state
    return session


def agent_in(state: ChannelState) -> AgentSession:
    session = agent_open()
    _walk(state, session.send, lambda x: session.receive(m.encode(x), 0))
    assert session.channel(0) is state
    return session


def _walk(state, agent_says, server_says) -> None:
    if state is ChannelState.NEW:
        return
    agent_says(attach())
    if state is ChannelState.REFUSED:
        server_says(SAMPLES[m.AttachRefused])
    if state in (ChannelState.ATTACHED, ChannelState.REATTACHING):
        server_says(m.Attached(channel=0))
    if state is ChannelState.REATTACHING:
        server_says(m.Reattach(channel=0))
    if state is ChannelState.DETACHED:
        agent_says(m.Detach(channel=0))


def test_a_whole_conversation_passes_both_ends():
    agent = AgentSession(hello=HELLO, limits=LIMITS, now=0)
    server = ServerSession(server_id="srv", limits=LIMITS, now=0)
    (greeted,) = server.receive(agent.greet().decode(), 1)
    assert greeted.hello == HELLO
    (said,) = agent.receive(server.send(greeted.welcome), 1)
    assert said.server == "srv"
    assert server.receive(agent.send(attach(granted=2)), 2) == [ChannelMessage(0, attach(granted=2))]
    agent.receive(server.send(m.Attached(channel=0)), 2)
    agent.receive(server.send(dispatch()), 3)
    assert agent.offer(0, 1) is None
    assert agent.offer(0, 0) == m.Credit(channel=0, granted=1)
    server.receive(agent.send(finished()), 4)
    (acked,) = agent.receive(server.send(SAMPLES[m.Ack]), 5)
    assert acked == SAMPLES[m.Ack]


@pytest.mark.parametrize("state", ChannelState)
@pytest.mark.parametrize("kind", SERVER_RECEIVES)
def test_server_receives(state, kind):
    session = server_in(state)
    following = SERVER_RECEIVES[kind].get(state)
    if following is None and kind is m.Attach:
        with pytest.raises(ProtocolViolation):
            session.receive(m.encode(SAMPLES[kind]), 1)
        return
    heard = session.receive(m.encode(SAMPLES[kind]), 1)
    assert heard == ([] if following is None else [ChannelMessage(0, SAMPLES[kind])])
    assert session.channel(0) is (following or state)
    assert session.dropped == (following is None)


@pytest.mark.parametrize("state", ChannelState)
@pytest.mark.parametrize("kind", AGENT_RECEIVES)
def test_agent_receives(state, kind):
    session = agent_in(state)
    following = AGENT_RECEIVES[kind].get(state)
    heard = session.receive(m.encode(SAMPLES[kind]), 1)
    assert heard == ([] if following is None else [SAMPLES[kind]])
    assert session.channel(0) is (following or state)
    assert session.dropped == (following is None)


@pytest.mark.parametrize("state", ChannelState)
@pytest.mark.parametrize(
    ("sends", "session_in", "kind"),
    [(SERVER_SENDS, server_in, kind) for kind in SERVER_SENDS]
    + [(AGENT_SENDS, agent_in, kind) for kind in AGENT_SENDS],
)
def test_sends(sends, session_in, state, kind):
    session = session_in(state)
    following = sends[kind].get(state)
    if following is None:
        with pytest.raises(ChannelNotOpen):
            session.send(SAMPLES[kind])
    else:
        assert msgspec.json.decode(session.send(SAMPLES[kind]))["channel"] == 0
    assert session.channel(0) is (following or state)


def test_the_tables_agree_but_for_what_a_server_forgives():
    for kind, states in AGENT_SENDS.items():
        assert states.items() <= SERVER_RECEIVES[kind].items()
    assert AGENT_RECEIVES == SERVER_SENDS


def test_what_crosses_a_reattach_is_dropped_and_not_counted():
    session = agent_in(ChannelState.ATTACHED)
    session.receive(m.encode(m.Reattach(channel=0)), 1)
    session.send(attach(granted=3))
    assert session.receive(m.encode(dispatch()), 1) == []
    session.receive(m.encode(m.Attached(channel=0)), 1)
    assert session.offer(0, 3) is None


def test_credits_are_cumulative_and_may_sink():
    session = agent_in(ChannelState.ATTACHED)
    session.receive(m.encode(dispatch()), 1)
    raised = session.offer(0, 2)
    assert raised == m.Credit(channel=0, granted=3)
    session.send(raised)
    assert session.offer(0, 2) is None
    lowered = session.offer(0, 0)
    assert lowered == m.Credit(channel=0, granted=1)
    session.send(lowered)
    assert agent_in(ChannelState.REFUSED).offer(0, 1) is None


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "nope",
        "[]",
        "{}",
        '{"type":5}',
        b'{"type":"\xff"}',
        '{"type":"credit"}',
        '{"type":"credit","channel":"0","granted":1}',
        '{"type":"credit","channel":-1,"granted":1}',
        '{"type":"credit","channel":64,"granted":1}',
        '{"type":"credit","channel":0,"granted":1e400}',
        '{"type":"credit","channel":0,"granted":99999999999999999999}',
        '{"type":"accepted","channel":0,"prediction":"\\ud800","attempt":1,"started_at":1}',
        '{"type":"finished","channel":0,"prediction":"p","attempt":1,"secret":"s","status":"great"}',
        '{"type":"progress","channel":0,"prediction":"p","attempt":1,"events":[{"seq":1,"kind":"logs","data":NaN}]}',
        '{"type":"attach","channel":0,"openapi_schema":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda frame: str(frame)[:60],
)
def test_bad_frames_are_violations(frame):
    with pytest.raises(ProtocolViolation) as caught:
        server_open().receive(frame, 1)
    assert caught.value.close_code is CloseCode.BAD_MESSAGE
    assert len(caught.value.reason.encode()) <= 123


def test_a_newer_peer_is_understood_as_far_as_it_goes():
    server = server_in(ChannelState.ATTACHED)
    assert server.receive('{"type":"teleport","channel":0,"to":[1]}', 1) == []
    assert server.skipped == 1
    assert server.receive('{"type":"credit","channel":0,"granted":4,"colour":"blue"}', 1) != []
    agent = agent_in(ChannelState.ATTACHED)
    assert agent.receive('{"type":"teleport"}', 1) == []
    assert agent.skipped == 1


def test_order_of_the_greeting():
    fresh = ServerSession(server_id="s", limits=LIMITS, now=0)
    with pytest.raises(ProtocolViolation):
        fresh.receive(m.encode(m.Beat()), 0)
    with pytest.raises(ProtocolViolation):
        server_open().receive(m.encode(HELLO), 0)
    with pytest.raises(ProtocolViolation) as caught:
        ServerSession(server_id="s", limits=LIMITS, now=0).receive(
            m.encode(msgspec.structs.replace(HELLO, protocol=0)), 0
        )
    assert caught.value.close_code is CloseCode.UNSUPPORTED
    early = AgentSession(hello=HELLO, limits=LIMITS, now=0)
    early.greet()
    with pytest.raises(ChannelNotOpen):
        early.send(attach())
    with pytest.raises(ProtocolViolation):
        early.receive(m.encode(dispatch()), 0)
    with pytest.raises(ProtocolViolation) as caught:
        early.receive(welcome(protocol=4), 0)
    assert caught.value.close_code is CloseCode.UNSUPPORTED


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [(1, 1, 1), (2, 1, 2), (2, 2, 2), (3, 1, 3), (4, 2, 4), (5, 2, 4), (9, 5, None), (0, 0, None)],
)
def test_the_newest_version_that_both_know_is_spoken(newest, oldest, spoken):
    session = ServerSession(server_id="s", limits=LIMITS, now=0)
    hello = m.encode(msgspec.structs.replace(HELLO, protocol=newest, oldest=oldest))
    if spoken is None:
        with pytest.raises(ProtocolViolation, match="this server 1 to 4") as caught:
            session.receive(hello, 0)
        assert caught.value.close_code is CloseCode.UNSUPPORTED
    else:
        (greeted,) = session.receive(hello, 0)
        assert greeted.welcome.protocol == spoken
        assert greeted.welcome.part_bytes == (LIMITS.part_bytes if spoken >= 3 else 0)


def test_a_server_may_not_speak_more_than_its_agent_said():
    agent = AgentSession(hello=HELLO, limits=LIMITS, now=0)
    agent.greet()
    with pytest.raises(ProtocolViolation):
        agent.receive(welcome(protocol=2), 0)


def test_a_frame_over_the_limit():
    limits = WireLimits(frame_bytes=400)
    big = m.Ack(channel=0, prediction="p" * 500, attempt=1)
    server = server_open(limits)
    server.receive(m.encode(attach()), 0)
    server.send(m.Attached(channel=0))
    with pytest.raises(FrameTooLarge):
        server.send(big)
    with pytest.raises(ProtocolViolation) as caught:
        server.receive(b" " * 401, 0)
    assert caught.value.close_code is CloseCode.TOO_LARGE


def test_beats_and_silence():
    session = server_open()
    assert session.next_tick_at() == 10
    assert session.tick(9) == []
    assert session.tick(10) == [m.encode(m.Beat())]
    session.receive(m.encode(m.Beat()), 15)
    assert session.tick(20) != []
    assert session.tick(30) != []
    assert session.tick(40) != []
    assert session.next_tick_at() == 45
    with pytest.raises(Silent) as caught:
        session.tick(45)
    assert caught.value.close_code is CloseCode.SILENT


def test_our_own_standstill_is_not_the_peers_silence():
    session = server_open()
    assert session.tick(60) != []
    assert session.next_tick_at() == 70
    session.tick(70)
    with pytest.raises(Silent):
        session.tick(80)


def test_hello_has_a_deadline():
    session = ServerSession(server_id="s", limits=LIMITS, now=0)
    assert session.next_tick_at() == 10
    with pytest.raises(Silent):
        session.tick(10)
    agent = AgentSession(hello=HELLO, limits=LIMITS, now=0)
    agent.greet()
    with pytest.raises(Silent):
        agent.tick(10)
