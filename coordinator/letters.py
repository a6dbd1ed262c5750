"""A terminal webhook on its way: its record, and when it is tried again. Pure."""

from typing import Literal

import msgspec

REPLICATE = "replicate"
COGFLARE = "cogflare"
"""Dialects, by the word in a token's record: Replicate's, and that of the Cogflare of 2022. A body has the
shape of ``GET /v1/predictions/{id}`` in its dialect. Who knows the id of a prediction in the one of 2022 may
read it."""
EVENTS = ("start", "output", "logs", "completed")
CALLBACK_EVENTS = ("created", *EVENTS)
"""What a ``callbackUrl`` of 2022 hears of."""
CALLBACK_INTERVAL_S = 5.0
"""Shortest time between two while it runs, whatever it says: in 2022 it was looked at so often."""
DEFAULT_EVENTS = ("output", "completed")
"""Without a filter, as Replicate's OpenAPI document says of ``webhook_events_filter``."""
LOG_LENGTH = 10
"""Tries that are remembered of one webhook."""
FIRST_WAIT_S, LONGEST_WAIT_S, SPREAD = 2.0, 3600.0, 0.2

State = Literal["waiting", "pending", "delivered", "failed"]


class Try(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and what came of it. Of the answer only its status is kept."""

    at: int
    took_s: float = 0.0
    status: int | None = None
    error: str = ""
    """Why it does not count as delivered; empty for one that does."""


class Letter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``id`` is the prediction's. Times are microseconds since the epoch."""

    id: str
    account: str
    url: str
    host: str
    expires_at: int
    dialect: str = REPLICATE
    tries: int = 0
    """Since it was last begun: a redelivery begins anew."""
    log: tuple[Try, ...] = ()
    delivered: bool = False

    @property
    def message(self) -> str:
        """The ``webhook-id``: the same however often it is sent."""
        return f"msg_{self.id}"


def tried(letter: Letter, attempt: Try) -> Letter:
    return msgspec.structs.replace(
        letter,
        tries=letter.tries + 1,
        log=(*letter.log, attempt)[-LOG_LENGTH:],
        delivered=not attempt.error,
    )


def next_try(letter: Letter, now: int, chance: float) -> int | None:
    """When to try again after ``letter.tries`` in vain; None when it is given up. ``chance`` is 0 to 1."""
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(letter.tries - 1, 20))
    at = now + int(wait_s * (1 - SPREAD + 2 * SPREAD * chance) * 1e6)
    return at if at < letter.expires_at else None


def state_of(letter: Letter, next_at: int | None, done_at: int | None) -> State:
    if done_at is not None:
        return "delivered" if letter.delivered else "failed"
    return "waiting" if next_at is None else "pending"


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Letter).decode
