"""Websocket frames to messages and back, with what is forgiven and what is not."""

from collections.abc import Callable
from typing import TypeVar, get_args

import msgspec

from coordinator.protocol.errors import CloseCode, FrameTooLarge, ProtocolViolation
from coordinator.protocol.messages import AgentMessage, Message, ServerMessage, encode

M = TypeVar("M")


class _Envelope(msgspec.Struct):
    type: str


def _tags(union: object) -> frozenset[str]:
    return frozenset(str(kind.__struct_config__.tag) for kind in get_args(union))


AGENT_TAGS = _tags(AgentMessage)
SERVER_TAGS = _tags(ServerMessage)


def decode_frame(
    data: str | bytes, decode: Callable[[str], M], known: frozenset[str], limit_bytes: int
) -> M | None:
    """The message in a frame, or None when its type is of a newer peer and to be skipped.

    Raises ``ProtocolViolation`` for what is no JSON object, lacks a type, or breaks a known type's fields.
    """
    # A str of n characters has at least n bytes; the transport has bounded it in bytes already.
    if len(data) > limit_bytes:
        raise ProtocolViolation(CloseCode.TOO_LARGE, f"a message of over {limit_bytes} bytes")
    try:
        text = data if isinstance(data, str) else data.decode()
        try:
            return decode(text)
        except msgspec.ValidationError as error:
            if msgspec.json.decode(text, type=_Envelope).type in known:
                raise ProtocolViolation(CloseCode.BAD_MESSAGE, str(error)) from None
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolation(CloseCode.BAD_MESSAGE, str(error)) from None


def encode_frame(message: Message, limit_bytes: int) -> bytes:
    """The text frame of a message, in UTF-8. Raises ``FrameTooLarge``."""
    frame = encode(message)
    if len(frame) > limit_bytes:
        raise FrameTooLarge(type(message).__name__, len(frame), limit_bytes)
    return frame
