"""What can go wrong on an agent's websocket, and the codes a connection is closed with.

ProtocolError
├── ProtocolViolation   the peer broke the protocol: close with its ``close_code``
│   └── Silent          nothing was heard for too long
└── NotSendable         this end may not send that message now: drop it, the connection is fine
    ├── ChannelNotOpen  the channel's state forbids it; reconciliation will repeat what matters
    └── FrameTooLarge   the peer would refuse a frame of that size
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a connection was closed. PROTOCOL.md says what an agent does about each."""

    GOING_AWAY = 1001
    TOO_LARGE = 1009
    INTERNAL = 1011
    BAD_MESSAGE = 4400
    TOKEN_REVOKED = 4401
    SILENT = 4408
    REPLACED = 4409
    UNSUPPORTED = 4426


class ProtocolError(Exception):
    """Base of this package's errors."""


class ProtocolViolation(ProtocolError):
    """The peer broke the protocol. Close the connection with ``close_code`` and ``reason``."""

    def __init__(self, close_code: CloseCode, reason: str) -> None:
        super().__init__(f"{reason} ({close_code.value})")
        self.close_code = close_code
        self.reason = reason[:MAX_REASON]


class Silent(ProtocolViolation):
    """The peer has said nothing for longer than agreed; the connection counts as dead."""

    def __init__(self, reason: str) -> None:
        super().__init__(CloseCode.SILENT, reason)


class NotSendable(ProtocolError):
    """The message was not encoded and nothing changed; the connection is fine."""


class ChannelNotOpen(NotSendable):
    """The channel's state does not allow this message, mostly because two messages crossed: drop it."""


class FrameTooLarge(NotSendable):
    """The frame would be larger than the peer takes."""

    def __init__(self, kind: str, length: int, limit: int) -> None:
        super().__init__(f"a {kind} message of {length} bytes is over the limit of {limit} bytes")
        self.length = length
        self.limit = limit


MAX_REASON = 120
"""Characters of a close reason: a close frame has room for 123 bytes."""
