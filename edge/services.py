"""What a running server is made of, as the HTTP application sees it. Built by ``edge/serve.py``."""

import asyncio
import time
from dataclasses import dataclass, field

from coordinator.actor.clock import Clock
from coordinator.blobs.base import Blobs
from coordinator.blobs.signing import Signer
from coordinator.host import Coordinators
from coordinator.ids import Ids
from coordinator.overflow.door import Door
from coordinator.projector import Projector
from coordinator.protocol.limits import ServerLimits
from coordinator.retention import Retention
from coordinator.store.database import Store
from coordinator.stub import Models
from edge.access_log import AccessLog
from edge.auth import Authenticator
from edge.gateway import Gateway
from edge.legacy.door import LegacyDoor
from edge.metrics.models import WatchedModels
from edge.metrics.requests import Requests
from edge.redirects import NO_REDIRECTS, Redirects
from edge.settings import FileUrls
from edge.subscriptions import Subscriptions
from edge.tracing import Tracing
from edge.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Services:
    """Frozen: the parts change, the set does not. ``public_url`` has no slash at its end."""

    public_url: str
    limits: ServerLimits
    store: Store
    blobs: Blobs
    signer: Signer
    ids: Ids
    clock: Clock
    coordinators: Coordinators
    authenticator: Authenticator
    subscriptions: Subscriptions
    gateway: Gateway
    legacy: LegacyDoor
    webhooks: Webhooks
    retention: Retention
    overflow: Door | None = None
    """To providers; None when nothing may run there."""
    file_urls: FileUrls = "auto"
    """Which answers hold their output files."""
    cors_origins: tuple[str, ...] = ()
    """Whose pages may call the API from a browser."""
    redirects: Redirects = NO_REDIRECTS
    """Where who reads a stored file is sent to."""
    currency: str = "USD"
    """What money is called."""
    access: AccessLog = field(default_factory=AccessLog)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the server has been asked to leave."""
    requests: Requests = field(default_factory=Requests)
    tracing: Tracing | None = None
    """None where no spans are told."""
    started_at: int = field(default_factory=lambda: time.time_ns() // 1000)
    """When the process began, microseconds since the epoch."""
    watched: WatchedModels = field(init=False)

    def __post_init__(self) -> None:
        watched = WatchedModels(self.coordinators, self.store.objects, self.limits.scale_wait_s)
        object.__setattr__(self, "watched", watched)

    @property
    def models(self) -> Models:
        return self.coordinators.models

    @property
    def projector(self) -> Projector:
        return self.coordinators.projector

    @property
    def ready(self) -> bool:
        """Whether all coordinators that were at work are back, and we are not about to leave."""
        return self.coordinators.namespace.woken.is_set() and not self.draining.is_set()
