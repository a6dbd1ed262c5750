"""What a coordinator has the overflow's door do: one attempt of a prediction at a provider. Pure data.

It takes the place of the dispatch that an agent gets. It never leaves the process.
"""

import msgspec

from coordinator.calls import SocketAddress
from coordinator.overflow.policy import Overflow

GATEWAY = "overflow"
"""The gateway in the address of the door's sessions: in every process the same, for the door is in the one
that has the object."""


def address_of(number: int) -> SocketAddress:
    """Where the object finds its door."""
    return SocketAddress(GATEWAY, str(number))


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Sent again under the same attempt when the coordinator does not know what became of it."""

    number: int
    """Of the object."""
    prediction: str
    attempt: int
    secret: str
    key: str
    """Of the attempt's output files."""
    account: str
    token: str
    input: bytes
    input_files: dict[str, str]
    """URL as it stands in the input -> key of the blob behind it."""
    run_s: float
    streams: bool
    target: Overflow
    dispatched_at: int
    """When the attempt was begun, microseconds since the epoch."""
    remote: str = ""
    """What the provider calls it, as far as that is known."""
    since: int = 0
    """Not 0 when it may run there already, under a name that is not known: since then."""
