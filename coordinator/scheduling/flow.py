"""What waits, by whom, and what it needs; what offers to run it. Pure data."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec


class Gpu(NamedTuple):
    name: str
    memory: int
    """Bytes."""


class Needs(NamedTuple):
    """What a prediction needs of the worker that runs it; empty means that any will do."""

    version: str = ""
    """The version that it is pinned to."""
    gpu: str = ""
    """Part of the name of a GPU, in any case of letters."""
    gpu_memory: int = 0
    """Bytes that one GPU must have."""
    unfit: str = ""
    """A version whose workers will not do, whatever they have."""

    def met_by(self, version: str, gpus: Sequence[Gpu]) -> bool:
        """Whether a worker of this version with these GPUs will do. Kind and memory are of the same GPU."""
        if self.version not in ("", version) or version == self.unfit != "":
            return False
        return not (self.gpu or self.gpu_memory) or any(
            self.gpu.lower() in gpu.name.lower() and gpu.memory >= self.gpu_memory for gpu in gpus
        )


class Flow(NamedTuple):
    """Predictions that differ in nothing that the order looks at but when they came: they run as they came.

    ``urgency`` is 0 for interactive, 1 for normal, 2 for batch.
    """

    urgency: int
    account: str
    token: str
    user: str = ""
    needs: Needs = Needs()

    def text(self) -> str:
        """A value for a column: the same flow, the same text, in every release. Flows of one token share
        everything up to their user."""
        needs = self.needs if self.needs.unfit else self.needs[:-1]  # as it was written before there was one
        plain = [self.account, self.token, self.user, self.urgency, *needs]
        return msgspec.json.encode(plain).decode()

    @staticmethod
    def of(text: str) -> "Flow":
        account, token, user, urgency, *needs = msgspec.json.decode(text)
        return Flow(urgency, account, token, user, Needs(*needs))


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What the owner of a prediction may have: the newest prediction's terms hold for all of them."""

    account_share: float = 1.0
    token_share: float = 1.0
    max_running: int = 0
    """Predictions of the token that may run at once; 0 is no limit."""


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """One queued prediction."""

    id: str
    flow: Flow
    sequence: int
    """Its place in its flow, kept for good."""
    since: int
    """When it was created, microseconds since the epoch: what it ages by."""
    cost_s: float = 1.0
    """Predicted run time."""
    avoid: frozenset[str] = frozenset()
    """Agents that it failed on."""
    input_bytes: int = 0
    terms: Terms = Terms()


class Offer(Protocol):
    """A session with a slot to give."""

    @property
    def agent(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def free(self) -> int:
        """Slots that the session would take now."""

    @property
    def warm(self) -> bool:
        """Whether the model stands ready there, so that nothing must be loaded first."""

    @property
    def gpus(self) -> tuple[Gpu, ...]: ...
