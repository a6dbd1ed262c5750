"""What an OpenAI client asks for. What we do not know is let pass: their clients send more every year."""

from typing import Any

import msgspec

from edge.errors import InvalidField, Problem, invalid_input

MOST_ANSWERS = 10
"""OpenAI's bound of ``n`` for images; we hold chats to it, too."""


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Message(msgspec.Struct):
    """One turn of a conversation. ``content`` is a text, or parts with texts and images."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class ChatBody(msgspec.Struct, kw_only=True):
    """``POST /chat/completions``."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    user: str | None = None


class ImagesBody(msgspec.Struct, kw_only=True):
    """``POST /images/generations``."""

    model: str
    prompt: str
    n: int | None = None
    response_format: str | None = None
    user: str | None = None


_chat = msgspec.json.Decoder(ChatBody).decode
_images = msgspec.json.Decoder(ImagesBody).decode
_given = msgspec.json.Decoder(dict[str, Any]).decode


def chat_body(body: bytes) -> tuple[ChatBody, dict[str, Any]]:
    """What was asked, and all that was given. Raises Problem."""
    asked, given = _decoded(_chat, body), _decoded(_given, body)
    if not asked.messages:
        raise invalid_input(InvalidField("required", "messages", "There must be one at least"))
    _check_number(asked.n)
    if asked.stream and (asked.n or 1) > 1:
        raise invalid_input(InvalidField("number_lte", "n", "Must be 1 for a stream"))
    return asked, given


def images_body(body: bytes) -> tuple[ImagesBody, dict[str, Any]]:
    """The same of images. Raises Problem."""
    asked, given = _decoded(_images, body), _decoded(_given, body)
    _check_number(asked.n)
    if asked.response_format not in (None, "url", "b64_json"):
        raise invalid_input(InvalidField("enum", "response_format", "Must be url or b64_json"))
    if given.get("stream"):
        raise invalid_input(InvalidField("enum", "stream", "Images are not streamed here"))
    return asked, given


def _check_number(n: int | None) -> None:
    if n is not None and not 1 <= n <= MOST_ANSWERS:
        raise invalid_input(InvalidField("number_lte", "n", f"Must be from 1 to {MOST_ANSWERS}"))


def _decoded(decode: Any, body: bytes) -> Any:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        raise invalid_input(InvalidField("invalid_type", path.strip("`$."), text)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem("bad_request", "The request body is not valid JSON.") from None
