"""Webhooks at the edge: what a request may ask for, how a body looks, and what sends them."""

import ipaddress
from typing import Any

from coordinator.actor.clock import Clock
from coordinator.blobs.base import Blobs
from coordinator.blobs.signing import Signer
from coordinator.letters import COGFLARE, DEFAULT_EVENTS, EVENTS, REPLICATE
from coordinator.long_inputs import whole
from coordinator.prediction import Document
from coordinator.protocol.addresses import AddressRules, UrlRefused, check_url
from coordinator.protocol.limits import ServerLimits
from coordinator.store.database import Store
from coordinator.tls import client_context
from coordinator.webhooks.post import Poster, parse
from coordinator.webhooks.sender import Sender
from coordinator.webhooks.slots import Room
from edge.catalog import Catalog
from edge.errors import InvalidField, invalid_input
from edge.legacy.shapes import shown as shown_of_2022
from edge.links import Links
from edge.schemas import CreateBody, Renderer, encode
from edge.stream_tokens import StreamTokens
from edge.webhook_secrets import CachedKeys, Secrets

URL_LENGTH = 2048
_CATALOG_TTL_S = 1.0


def webhook_of(body: CreateBody, rules: AddressRules) -> tuple[str, tuple[str, ...]]:
    """(URL, events) that a creation asks for; an empty URL for none. Raises Problem.

    A name is resolved, and its addresses are checked, when it is sent to; an address is checked here.
    """
    wrong = []
    if (fault := url_fault(body.webhook, rules)) is not None:
        wrong.append(InvalidField("invalid_webhook", "webhook", fault))
    wanted = body.webhook_events_filter
    if wanted is not None and not (isinstance(wanted, list) and all(one in EVENTS for one in wanted)):
        expected = f"Must be a list of some of {', '.join(EVENTS)}"
        wrong.append(InvalidField("enum", "webhook_events_filter", expected))
    if wrong:
        raise invalid_input(*wrong)
    if not body.webhook:
        return "", ()
    return body.webhook, tuple(one for one in EVENTS if one in (wanted or DEFAULT_EVENTS))


def url_fault(url: Any, rules: AddressRules) -> str | None:
    """Why nothing can be sent to this URL, as far as it is known before its name is resolved."""
    if not url:
        return None if url is None or url == "" else "Invalid type. Expected: string"
    if not isinstance(url, str):
        return "Invalid type. Expected: string"
    if len(url) > URL_LENGTH:
        return f"Must be no longer than {URL_LENGTH} characters"
    try:
        host = parse(url).host
        check_url(url)
    except UrlRefused as error:
        return f"No webhook can be sent there: {error}"
    if _is_address(host) and not rules.allows(host):
        return (
            "No webhook can be sent there: the address is not public (the server's --allow-private opens it)"
        )
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Bodies:
    """The bodies of webhooks in each dialect: what GET gives of the prediction."""

    def __init__(self, render: Renderer, links: Links, catalog: Catalog, blobs: Blobs) -> None:
        self._render = render
        self._links = links
        self._catalog = catalog
        self._blobs = blobs

    async def replicate(self, document: Document) -> bytes:
        document = await whole(self._blobs, document)
        version, schema = await self._catalog.shown(document)
        return encode(self._render.prediction(document, version, schema))

    async def cogflare(self, document: Document) -> bytes:
        document = await whole(self._blobs, document)
        version, schema = await self._catalog.shown(document)
        return encode(shown_of_2022(self._render, self._links, document, version, schema))


class Webhooks:
    """What sends the webhooks of one server. ``stop`` after the coordinators."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        secrets: Secrets,
        signer: Signer,
        clock: Clock,
        limits: ServerLimits,
        public_url: str,
        rules: AddressRules,
    ) -> None:
        links = Links(public_url, signer, limits.file_url_ttl_s, clock.now)
        catalog = Catalog(store, clock, _CATALOG_TTL_S)
        bodies = Bodies(Renderer(links, StreamTokens(signer)), links, catalog, blobs)
        self.rules = rules
        self.secrets = secrets
        self._keys = CachedKeys(secrets, clock)
        self.sender = Sender(
            poster=Poster(
                rules,
                client_context(),
                connections=limits.webhook_connections,
                limit_s=limits.webhook_s,
            ),
            room=Room(
                receiver=limits.webhook_host_connections,
                account=limits.webhook_account_connections,
                total=limits.webhook_connections,
            ),
            renders={REPLICATE: bodies.replicate, COGFLARE: bodies.cogflare},
            keys=self._keys.keys,
            clock=clock,
        )

    async def stop(self) -> None:
        await self.sender.stop()
        await self._keys.stop()
