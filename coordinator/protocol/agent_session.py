"""The agent's end of a connection, without I/O: frames in, messages out.

    new ──hello──▶ greeting ──welcome──▶ open            channels: channels.py

The mirror of ``ServerSession``, and used alike: feed ``receive``, send what ``send`` and ``tick`` return,
call ``tick`` no later than ``next_tick_at``. ``now`` is monotonic seconds. It also keeps the books of
credits: what was granted on a channel since its last attach, and how many dispatches have come of it.
"""

from dataclasses import dataclass
from enum import StrEnum

from coordinator.protocol.channels import AGENT_RECEIVES, AGENT_SENDS, ChannelState
from coordinator.protocol.errors import ChannelNotOpen, CloseCode, ProtocolViolation
from coordinator.protocol.frames import SERVER_TAGS, decode_frame, encode_frame
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.liveness import Liveness
from coordinator.protocol.messages import (
    OLDEST,
    VERSION,
    Ack,
    AgentMessage,
    Attach,
    Attached,
    AttachRefused,
    Beat,
    Cancel,
    Closing,
    Credit,
    Demand,
    Dispatch,
    Drain,
    Hello,
    Reattach,
    Resend,
    ServerMessage,
    UploadRefused,
    UploadTo,
    Welcome,
    decode_from_server,
)

ToChannel = (
    Attached
    | AttachRefused
    | Reattach
    | Dispatch
    | Cancel
    | Ack
    | Resend
    | UploadTo
    | UploadRefused
    | Drain
    | Demand
)
Heard = Welcome | Closing | ToChannel


class Phase(StrEnum):
    NEW = "new"
    GREETING = "greeting"
    OPEN = "open"


@dataclass(slots=True)
class _Books:
    """One channel's credits since its last attach."""

    granted: int
    received: int = 0


class AgentSession:
    """One connection to a server.

    ``skipped`` counts frames of unknown type, ``dropped`` those that crossed another message.
    """

    def __init__(self, *, hello: Hello, limits: WireLimits, now: float) -> None:
        self._hello = hello
        self._frame_bytes = limits.frame_bytes
        self._phase = Phase.NEW
        self._channels: dict[int, ChannelState] = {}
        self._books: dict[int, _Books] = {}
        self._liveness = Liveness(limits.hello_s, now)
        self.skipped = 0
        self.dropped = 0

    def greet(self) -> bytes:
        """The first frame to send."""
        if self._phase is not Phase.NEW:
            raise ChannelNotOpen("hello is said once")
        frame = encode_frame(self._hello, self._frame_bytes)
        self._phase = Phase.GREETING
        return frame

    def channel(self, channel: int) -> ChannelState:
        return self._channels.get(channel, ChannelState.NEW)

    def receive(self, data: str | bytes, now: float) -> list[Heard]:
        """The messages of a frame that the owner has to act on: ``Welcome`` first, then those of channels and
        ``Closing``. ``Reattach`` is to be answered by an attach. Raises ``ProtocolViolation``."""
        message = decode_frame(data, decode_from_server, SERVER_TAGS, self._frame_bytes)
        self._liveness.heard(now)
        if message is None:
            self.skipped += 1
            return []
        if isinstance(message, Welcome):
            return [self._welcome(message, now)]
        if isinstance(message, Beat):
            return []
        if isinstance(message, Closing):
            return [message]
        if self._phase is not Phase.OPEN:
            raise _bad(f"{_name(message)} before welcome")
        return self._on_channel(message)

    def send(self, message: AgentMessage) -> bytes:
        """The frame to send. Raises ``ChannelNotOpen`` (drop it: the next attach repeats what matters) or
        ``FrameTooLarge``; in both cases nothing has changed."""
        if isinstance(message, Hello):
            raise ChannelNotOpen("hello is said by greet()")
        if self._phase is not Phase.OPEN:
            raise ChannelNotOpen(f"{_name(message)} before welcome")
        if isinstance(message, Beat):
            return encode_frame(message, self._frame_bytes)
        state = self.channel(message.channel)
        following = AGENT_SENDS[type(message)].get(state)
        if following is None:
            raise ChannelNotOpen(f"{_name(message)} on channel {message.channel}, which is {state}")
        frame = encode_frame(message, self._frame_bytes)
        self._channels[message.channel] = following
        if isinstance(message, Attach):
            self._books[message.channel] = _Books(message.granted)
        elif isinstance(message, Credit):
            self._books[message.channel].granted = message.granted
        return frame

    def offer(self, channel: int, free: int) -> Credit | None:
        """The message that lets the server use ``free`` slots on this channel from now on; None when it knows
        that already, or the channel takes no credits in its state. Lowering is allowed; what crosses it is
        for the agent to refuse. The credit counts once it went through ``send``."""
        if self.channel(channel) not in AGENT_SENDS[Credit]:
            return None
        books = self._books[channel]
        granted = books.received + free
        return None if granted == books.granted else Credit(channel=channel, granted=granted)

    def tick(self, now: float) -> list[bytes]:
        """Beats that are due. Raises ``Silent`` when the server is gone or never said welcome."""
        return [self.send(Beat())] if self._liveness.tick(now) else []

    def next_tick_at(self) -> float:
        """When to call ``tick``; the greeting moves it, so ask again after that."""
        return self._liveness.next_tick_at()

    def _welcome(self, welcome: Welcome, now: float) -> Welcome:
        if self._phase is not Phase.GREETING:
            raise _bad("welcome is the answer to hello, once")
        if not OLDEST <= welcome.protocol <= min(VERSION, self._hello.protocol):
            raise ProtocolViolation(CloseCode.UNSUPPORTED, f"the server chose protocol {welcome.protocol}")
        if not 0 < welcome.beat_s < welcome.silence_s:
            raise _bad("welcome: beat_s must be above 0 and below silence_s")
        self._phase = Phase.OPEN
        self._frame_bytes = welcome.frame_bytes
        self._liveness.greeted(welcome.beat_s, welcome.silence_s, now)
        return welcome

    def _on_channel(self, message: ToChannel) -> list[Heard]:
        channel = message.channel
        following = AGENT_RECEIVES[type(message)].get(self.channel(channel))
        if following is None:
            self.dropped += 1
            return []
        self._channels[channel] = following
        if isinstance(message, Dispatch):
            self._books[channel].received += 1
        return [message]


def _name(message: AgentMessage | ServerMessage) -> str:
    return str(message.__struct_config__.tag)


def _bad(reason: str) -> ProtocolViolation:
    return ProtocolViolation(CloseCode.BAD_MESSAGE, reason)
