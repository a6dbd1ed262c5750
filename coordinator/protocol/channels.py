"""The life of a channel, seen from both ends: two tables each, for what comes in and what goes out.

A channel is an agent's number for one of its models on one connection. Both ends read these tables, so what
crosses on the wire is judged alike: a message that a state does not know is dropped, not an error, but an
``attach`` out of turn, which would leave the ends with different ideas of who waits for whom.
"""

from collections.abc import Mapping
from enum import StrEnum

from coordinator.protocol import messages as m


class ChannelState(StrEnum):
    NEW = "new"
    """Never attached on this connection."""
    ATTACHING = "attaching"
    """``attach`` was sent; ``attached`` or ``attach_refused`` is still to come."""
    ATTACHED = "attached"
    REATTACHING = "reattaching"
    """The server asked for a new ``attach``, which is still to come."""
    REFUSED = "refused"
    """The agent may attach again, later."""
    DETACHED = "detached"
    """Given up by the agent; its number is not used again on this connection."""


Table = Mapping[type[m.Message], Mapping[ChannelState, ChannelState]]

_NEW, _ATTACHING, _ATTACHED = ChannelState.NEW, ChannelState.ATTACHING, ChannelState.ATTACHED
_REATTACHING, _REFUSED, _DETACHED = ChannelState.REATTACHING, ChannelState.REFUSED, ChannelState.DETACHED

_WORK = {_ATTACHED: _ATTACHED}
_EARLY = {_ATTACHED: _ATTACHED, _ATTACHING: _ATTACHING}

SERVER_RECEIVES: Table = {
    m.Attach: {_NEW: _ATTACHING, _REATTACHING: _ATTACHING, _REFUSED: _ATTACHING},
    m.Detach: {_ATTACHING: _DETACHED, _ATTACHED: _DETACHED, _REATTACHING: _DETACHED, _REFUSED: _DETACHED},
    m.Credit: _EARLY,
    m.Accepted: _EARLY,
    m.Refused: _EARLY,
    m.Progress: _EARLY,
    m.Finished: _EARLY,
    m.Upload: _EARLY,
    m.ModelState: _EARLY,
}
SERVER_SENDS: Table = {
    m.Attached: {_ATTACHING: _ATTACHED},
    m.AttachRefused: {_ATTACHING: _REFUSED, _ATTACHED: _REFUSED},
    m.Reattach: {_ATTACHING: _REATTACHING, _ATTACHED: _REATTACHING},
    m.Dispatch: _WORK,
    m.Cancel: _WORK,
    m.Ack: _WORK,
    m.Resend: _WORK,
    m.UploadTo: _WORK,
    m.UploadRefused: _WORK,
    m.Drain: _WORK,
    m.Demand: _WORK,
}
AGENT_SENDS: Table = {
    m.Attach: {_NEW: _ATTACHING, _REATTACHING: _ATTACHING, _REFUSED: _ATTACHING},
    m.Detach: SERVER_RECEIVES[m.Detach],
    m.Credit: _EARLY,
    m.Accepted: _WORK,
    m.Refused: _WORK,
    m.Progress: _WORK,
    m.Finished: _WORK,
    m.Upload: _WORK,
    m.ModelState: _EARLY,
}
AGENT_RECEIVES: Table = {
    m.Attached: SERVER_SENDS[m.Attached],
    m.AttachRefused: SERVER_SENDS[m.AttachRefused],
    m.Reattach: SERVER_SENDS[m.Reattach],
    m.Dispatch: _WORK,
    m.Cancel: _WORK,
    m.Ack: _WORK,
    m.Resend: _WORK,
    m.UploadTo: _WORK,
    m.UploadRefused: _WORK,
    m.Drain: _WORK,
    m.Demand: _WORK,
}
