"""The server's end of one agent's connection, without I/O: frames in, events out.

    new ──hello──▶ greeted ──welcome──▶ open            channels: channels.py

The owner of the socket feeds ``receive`` with each frame, sends what ``send`` and ``tick`` return, and calls
``tick`` no later than ``next_tick_at``. ``now`` is monotonic seconds. When a method raises
``ProtocolViolation``, close the socket with its code; the session is of no more use.
"""

from enum import StrEnum

import msgspec

from coordinator.protocol.channels import SERVER_RECEIVES, SERVER_SENDS, ChannelState
from coordinator.protocol.errors import ChannelNotOpen, CloseCode, ProtocolViolation
from coordinator.protocol.frames import AGENT_TAGS, decode_frame, encode_frame
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.liveness import Liveness
from coordinator.protocol.messages import (
    OLDEST,
    VERSION,
    Accepted,
    AgentMessage,
    Attach,
    Beat,
    Closing,
    Credit,
    Detach,
    Finished,
    Hello,
    ModelState,
    Progress,
    Refused,
    ServerMessage,
    Upload,
    Welcome,
    decode_from_agent,
)

ChannelMessageKind = Attach | Credit | Accepted | Refused | Progress | Finished | Upload | ModelState | Detach


class Greeted(msgspec.Struct, frozen=True, gc=False):
    """The agent said hello. Send ``welcome`` as the next frame; nothing else goes out before it."""

    hello: Hello
    welcome: Welcome


class ChannelMessage(msgspec.Struct, frozen=True, gc=False):
    """A message for the coordinator behind a channel; those of one channel are to be handled in order."""

    channel: int
    message: ChannelMessageKind


class Phase(StrEnum):
    NEW = "new"
    GREETED = "greeted"
    OPEN = "open"


class ServerSession:
    """One agent's connection. ``skipped`` counts frames of unknown type, ``dropped`` those that crossed."""

    def __init__(self, *, server_id: str, limits: WireLimits, now: float) -> None:
        self._server_id = server_id
        self._limits = limits
        self._phase = Phase.NEW
        self._channels: dict[int, ChannelState] = {}
        self._liveness = Liveness(limits.hello_s, now)
        self.skipped = 0
        self.dropped = 0

    def channel(self, channel: int) -> ChannelState:
        return self._channels.get(channel, ChannelState.NEW)

    def receive(self, data: str | bytes, now: float) -> list[Greeted | ChannelMessage]:
        """What a frame means to the owner, mostly one thing; beats mean nothing.

        Raises ``ProtocolViolation``.
        """
        message = decode_frame(data, decode_from_agent, AGENT_TAGS, self._limits.frame_bytes)
        self._liveness.heard(now)
        if message is None:
            self.skipped += 1
            return []
        if isinstance(message, Hello):
            return [self._greet(message, now)]
        if self._phase is not Phase.OPEN:
            raise _bad(f"{_name(message)} before hello and welcome")
        if isinstance(message, Beat):
            return []
        return self._on_channel(message)

    def send(self, message: ServerMessage) -> bytes:
        """The frame to send. Raises ``ChannelNotOpen`` (drop it: two messages crossed) or ``FrameTooLarge``;
        in both cases nothing has changed."""
        if isinstance(message, Welcome):
            if self._phase is not Phase.GREETED:
                raise ChannelNotOpen("welcome is the answer to hello, once")
            frame = encode_frame(message, self._limits.frame_bytes)
            self._phase = Phase.OPEN
            return frame
        if isinstance(message, Closing | Beat):
            return encode_frame(message, self._limits.frame_bytes)
        state = self.channel(message.channel)
        following = SERVER_SENDS[type(message)].get(state)
        if following is None:
            raise ChannelNotOpen(f"{_name(message)} on channel {message.channel}, which is {state}")
        frame = encode_frame(message, self._limits.frame_bytes)
        self._channels[message.channel] = following
        return frame

    def tick(self, now: float) -> list[bytes]:
        """Beats that are due. Raises ``Silent`` when the agent is gone or never said hello."""
        return [self.send(Beat())] if self._liveness.tick(now) else []

    def next_tick_at(self) -> float:
        """When to call ``tick``; the greeting moves it, so ask again after that."""
        return self._liveness.next_tick_at()

    def _greet(self, hello: Hello, now: float) -> Greeted:
        if self._phase is not Phase.NEW:
            raise _bad("hello is said once")
        spoken = min(VERSION, hello.protocol)
        if spoken < max(OLDEST, hello.oldest):
            theirs, ours = f"{hello.oldest} to {hello.protocol}", f"{OLDEST} to {VERSION}"
            raise ProtocolViolation(
                CloseCode.UNSUPPORTED, f"the agent speaks protocol {theirs}, this server {ours}"
            )
        for what in ("agent", "incarnation", "name"):
            if not 0 < len(getattr(hello, what)) <= MAX_NAME:
                raise _bad(f"hello: {what} must have 1 to {MAX_NAME} characters")
        limits = self._limits
        self._phase = Phase.GREETED
        self._liveness.greeted(limits.beat_s, limits.silence_s, now)
        return Greeted(
            hello,
            Welcome(
                protocol=spoken,
                server=self._server_id,
                beat_s=limits.beat_s,
                silence_s=limits.silence_s,
                result_bytes=limits.result_bytes,
                log_bytes=limits.log_bytes,
                frame_bytes=limits.frame_bytes,
                part_bytes=limits.part_bytes if spoken >= 3 else 0,
            ),
        )

    def _on_channel(self, message: ChannelMessageKind) -> list[Greeted | ChannelMessage]:
        channel = message.channel
        if channel >= self._limits.channels:
            raise _bad(f"channel {channel}; they are numbered 0 to {self._limits.channels - 1}")
        state = self.channel(channel)
        following = SERVER_RECEIVES[type(message)].get(state)
        if following is None:
            if isinstance(message, Attach):
                raise _bad(f"attach on channel {channel}, which is {state}")
            self.dropped += 1
            return []
        self._channels[channel] = following
        return [ChannelMessage(channel, message)]


MAX_NAME = 128
"""Characters of an agent's id, incarnation and name."""


def _name(message: AgentMessage | ServerMessage) -> str:
    return str(message.__struct_config__.tag)


def _bad(reason: str) -> ProtocolViolation:
    return ProtocolViolation(CloseCode.BAD_MESSAGE, reason)
