"""The text of a search, from a query or from the body of ``QUERY /v1/models``."""

import msgspec

from coordinator.protocol.limits import SEARCH_LENGTH, SEARCH_WORDS
from edge.errors import InvalidField, Problem, invalid_input


def words_of(body: bytes) -> str:
    """The text of ``hello`` and of ``"hello"`` alike: each official client has a way of its own. Raises
    Problem for what is no text."""
    try:
        text = msgspec.json.decode(body, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise Problem("bad_request", "The search text must be UTF-8.") from None
    return text


def checked(text: str) -> str:
    """The text, if it is not too much to look for. Raises Problem ``invalid_input``."""
    text = text.strip()
    if len(text) > SEARCH_LENGTH or len(text.split()) > SEARCH_WORDS:
        detail = f"Must be at most {SEARCH_WORDS} words of {SEARCH_LENGTH} characters together"
        raise invalid_input(InvalidField("range", "query", detail))
    return text
