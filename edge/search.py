"""The text of ``QUERY /v1/models``: each official client writes it in its own way."""

import msgspec

from edge.errors import Problem


def words_of(body: bytes) -> str:
    """The text of ``hello`` and of ``"hello"`` alike. Raises Problem for what is no text."""
    try:
        text = msgspec.json.decode(body, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise Problem("bad_request", "The search text must be UTF-8.") from None
    return text.strip()
