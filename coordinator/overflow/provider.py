"""What runs predictions elsewhere: the seam, and what can go wrong with it."""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec
from msgspec import Raw

Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]
ENDED: frozenset[Status] = frozenset({"succeeded", "failed", "canceled"})


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run."""

    model: str
    """``owner/name`` at the provider."""
    version: str = ""
    """64 hex; empty for the newest that the provider has."""
    input: bytes
    """A JSON object."""
    webhook: str = ""
    """URL that hears of the end; empty for none."""
    run_s: float
    """The longest time that anybody waits for it."""


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction as the provider tells of it."""

    id: str
    status: Status
    version: str = ""
    output: Raw = Raw(b"null")
    error: str | None = None
    logs: str = ""
    metrics: Mapping[str, Raw] = {}
    started_at: int | None = None
    """Microseconds since the epoch."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class RemoteVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model at the provider."""

    id: str
    """64 hex, or a word of the provider's for one that it does not tell."""
    openapi_schema: bytes = b"{}"
    cog_version: str = ""
    created_at: int = 0
    """Microseconds since the epoch."""


class RemoteModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the provider."""

    name: str
    latest: RemoteVersion | None = None
    version: str = ""
    """The one to ask for; empty where the model is asked for by its name, and the provider chooses."""
    description: str = ""
    private: bool = False
    run_count: int = 0
    links: Mapping[str, str] = {}
    """Where more is said of it, by the names of Replicate's fields."""


class ProviderError(Exception):
    """The provider did not do it. The text is fit for a client's eyes."""


class Rejected(ProviderError):
    """It never will: the input, the model or the version is wrong. It was not begun."""


class NoModel(ProviderError):
    """It has no such model, or not for this key. It was not begun."""


class BadKey(ProviderError):
    """The key is not valid, or may not do this. It was not begun."""


class OutOfCredit(ProviderError):
    """Somebody has to pay first. It was not begun."""


class Throttled(ProviderError):
    """Too many requests with this key. It was not begun."""

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Unreachable(ProviderError):
    """No good answer came. Whether it was begun is unknown: look for it with ``find`` before another try."""


class NotReached(Unreachable):
    """There was no connection: it was not begun."""


class Gone(ProviderError):
    """There is no such prediction, or none any more."""


class Provider(Protocol):
    """One provider, with whatever key is given to each call. Each method raises ProviderError."""

    @property
    def name(self) -> str:
        """What ``metrics.runner`` says, as ``replicate``."""

    @property
    def tells(self) -> bool:
        """Whether it sends webhooks, as far as that is known."""

    async def create(self, key: str, wanted: Wanted) -> Remote:
        """Begin it. After Unreachable it may have begun."""

    async def get(self, key: str, id: str) -> Remote:
        """As it is now. Raises Gone."""

    async def cancel(self, key: str, id: str) -> None:
        """Ask for its end; it may have ended."""

    async def find(self, key: str, wanted: Wanted, since: int, known: frozenset[str]) -> Remote | None:
        """The oldest one of the same input created ``since`` then (microseconds), but none of those
        ``known``. None when there is none."""

    async def model(self, key: str, name: str) -> RemoteModel | None:
        """What is called ``owner/name`` there."""

    async def version(self, key: str, name: str, id: str) -> RemoteVersion | None:
        """A version of that model."""

    async def versions(self, key: str, name: str) -> list[RemoteVersion]:
        """Its newest versions, the newest first; none of a model that is only asked for by its name."""

    async def model_of(self, key: str, version: str) -> str | None:
        """The name of the model of this version, when what this key has run last says so."""

    def owns(self, url: str) -> bool:
        """Whether it is of the very server that the operator named."""

    def delivers(self, url: str) -> bool:
        """Whether it is of an output file that is there for a time only."""

    async def close(self) -> None:
        """Give back the connections."""
