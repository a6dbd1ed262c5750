"""Cursors of lists: opaque to clients, a position to us."""

import base64
import binascii
from urllib.parse import parse_qs, urlencode

from edge.errors import InvalidField, invalid_input

Position = tuple[int, str]
"""(created_at in microseconds, id) of the last thing on the page before."""


def encode_cursor(position: Position) -> str:
    """Replicate's form: base64 of a urlencoded ``p=…``."""
    text = urlencode({"p": f"{position[0]}.{position[1]}"})
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode_cursor(cursor: str) -> Position:
    """Raises Problem ``invalid_input`` for a cursor that is not one of ours."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        at, _, id = parse_qs(text, strict_parsing=True)["p"][0].partition(".")
        if not at.isascii() or not at.isdigit() or len(at) > 18 or not id:
            raise ValueError(text)
    except (binascii.Error, ValueError, KeyError):
        raise invalid_input(InvalidField("cursor", "cursor", "Not a cursor of this list")) from None
    return int(at), id
