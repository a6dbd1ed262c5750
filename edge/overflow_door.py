"""Builds the door to providers: what it has of the server's settings, and where it finds tokens' keys."""

import logging
from contextlib import AsyncExitStack
from functools import partial

from coordinator.actor.clock import Clock
from coordinator.blobs.base import Blobs
from coordinator.blobs.signing import Signer
from coordinator.host import Coordinators
from coordinator.overflow.caps import DailyCaps
from coordinator.overflow.carrier import Carrier
from coordinator.overflow.door import Door
from coordinator.overflow.files import OverflowFiles
from coordinator.overflow.policy import REPLICATE
from coordinator.overflow.provider import Provider
from coordinator.overflow.replicate import Replicate
from coordinator.protocol.addresses import AddressRules
from coordinator.store.database import Store
from coordinator.tls import client_context
from edge.overflow import reachable
from edge.provider_keys import NotOurs, ProviderKeys
from edge.settings import ServeSettings

log = logging.getLogger(__name__)


def overflow_door(
    settings: ServeSettings,
    *,
    store: Store,
    coordinators: Coordinators,
    blobs: Blobs,
    signer: Signer,
    clock: Clock,
    secret: bytes,
    public_url: str,
    parts: AsyncExitStack,
) -> Door:
    """A door that ``parts`` stops; without a URL in the settings it has nobody behind it, and what is to run
    there waits."""
    url, provider_keys = settings.replicate_url, ProviderKeys(lambda: secret)
    providers: dict[str, Provider] = {}
    if url:
        providers[REPLICATE] = Replicate(url, answer_s=settings.limits.overflow_answer_s)

    async def key(token: str, provider: str) -> str | None:
        record = await store.tokens.by_id(token)
        if record is None or record.replicate is None:
            return None
        try:
            return provider_keys.open(record.replicate)
        except NotOurs as error:
            log.warning("overflow: token %s: %s", record.name, error)
            return None

    base = reachable(public_url, url)
    files = OverflowFiles(
        providers=providers,
        blobs=blobs,
        signer=signer,
        clock=clock,
        limits=settings.limits,
        rules=AddressRules(settings.allow_private),
        tls=client_context(),
        base=base,
    )
    parts.push_async_callback(files.close)
    carrier = partial(
        Carrier,
        providers=providers,
        keys=key,
        files=files,
        caps=DailyCaps(store.overflow_days, clock, settings.limits, store.tokens, coordinators.watch.spent),
        awake=coordinators.namespace.woken,
        clock=clock,
        limits=settings.limits,
        wire_limits=settings.wire,
        public_url=base,
    )
    door = Door(models=coordinators.models, carrier=carrier, clock=clock, limits=settings.limits)
    parts.push_async_callback(door.stop)
    return door
