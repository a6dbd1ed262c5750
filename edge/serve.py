"""The server process: puts the parts together, runs them, and takes them apart in the right order."""

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version

from coordinator.actor.clock import SystemClock
from coordinator.actor.placement import LocalPlacement
from coordinator.actor.sqlite import SqliteStorages
from coordinator.blobs.place import FilePlace
from coordinator.blobs.signing import Signer
from coordinator.host import Coordinators
from coordinator.ids import Ids
from coordinator.leftovers import Leftovers
from coordinator.model_schema import MODEL_SCHEMA
from coordinator.protocol.addresses import AddressRules, http_url
from coordinator.protocol.otlp import NoTelemetry, Otlp
from coordinator.retention import Retention
from coordinator.store.database import Store, migrate
from edge.access_log import AccessLog
from edge.address import bind
from edge.app import create_app
from edge.audit import Acts, By
from edge.auth import Authenticator
from edge.backups import Backups
from edge.client_address import ClientAddresses
from edge.control import ControlServer, Status, user
from edge.cors import valid_origin
from edge.data_dir import DataDir, write_secret
from edge.exits import CommandFailed, ExitCode
from edge.failures import explained
from edge.fleet import Fleet
from edge.gateway import Gateway
from edge.key_orders import KeyOrders
from edge.last_use import LastUse
from edge.legacy.door import LegacyDoor
from edge.listener import http_server, tls, urls
from edge.metrics.door import metrics_address, metrics_door
from edge.metrics.sleepers import Sleepers
from edge.orders import Orders
from edge.overflow_door import overflow_door
from edge.provider_keys import LABEL, ProviderKeys
from edge.records import Records
from edge.redirects import Redirects, redirects_of
from edge.services import Services
from edge.settings import ServeSettings
from edge.sockets import AllSockets
from edge.storage import open_storage, storage_place
from edge.subscriptions import Subscriptions
from edge.times import rfc3339
from edge.token_orders import TokenOrders
from edge.tracing import Tracing
from edge.webhook_secrets import LABEL as WEBHOOK_SECRETS
from edge.webhook_secrets import Secrets
from edge.webhooks import Webhooks

log = logging.getLogger(__name__)

GC_ALLOCATIONS = 20_000
"""Objects left over between two looks of the garbage collector; Python's own 700 cost a tenth of the time."""
THREAD_SWITCH_S = 0.001
STOP_S = 15.0
"""Longest time that one part has for its stop; what is not stopped by then is safe to be cut off."""


async def serve(settings: ServeSettings) -> int:
    """Run until a signal. Returns the exit code; raises CommandFailed when it cannot start."""
    run = _Run()
    run.catch_signals()
    _check(settings)
    data = DataDir(settings.data)
    context = tls(settings)
    data.create()
    data.hold("serve")
    try:
        data.check_writable()
        listener = bind(settings.host, settings.port)
        try:
            local_url, public_url = urls(settings, listener)
            async with AsyncExitStack() as parts:
                with explained(data):
                    services, backups, last_use = await _build(settings, data, public_url, parts, run)
                    secret = await _first_token(services.store, data)
                    orders = _orders(services, backups, last_use, data, local_url, settings.storage, run)
                    control = ControlServer(data.control_socket, orders.on_socket)
                    parts.push_async_callback(control.stop)
                    await control.start()
                metrics = await parts.enter_async_context(metrics_door(settings.metrics_address, services))
                http = http_server(create_app(services, orders), listener, settings, context)
                serving = asyncio.create_task(http.serve())
                parts.push_async_callback(_end, serving)
                await _until(http.listening, serving)
                _tune_interpreter()
                _announce(local_url, public_url, data, secret, metrics)
                await _until(run.leaving, serving)
                services.draining.set()
                log.info("leaving: %s", run.reason)
                await services.legacy.stop()
                await _bounded(services.gateway.stop, "the agents' gateway")
                http.leave(at_once=run.failure is not None)
                await serving
        finally:
            listener.close()
    finally:
        data.release()
    if run.failure is not None:
        raise CommandFailed(f"the server has stopped: {run.failure}", ExitCode.STORAGE)
    return ExitCode.DONE


class _Run:
    """Why and when the process leaves. Written by signal handlers and by ``fail``; read by ``serve``."""

    def __init__(self) -> None:
        self.leaving = asyncio.Event()
        self.reason = ""
        self.failure: Exception | None = None
        self.started_at = time.time_ns() // 1000

    def catch_signals(self) -> None:
        """The first SIGTERM or SIGINT asks to leave, the second one ends the process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def fail(self, error: Exception) -> None:
        """Storage can no longer be trusted: leave, so that the next start begins from what is on disk."""
        log.critical("storage failed, the server stops: %s", error)
        self.failure = self.failure or error
        self._leave("storage failed")

    def _on_signal(self, number: int) -> None:
        if self.leaving.is_set():
            # Everything that was promised is on disk already: nothing is lost by going now.
            os._exit(128 + number)
        self._leave(signal.Signals(number).name)

    def _leave(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.leaving.set()


def _check(settings: ServeSettings) -> None:
    """Limits that are good one by one and make no sense together, and origins. Raises CommandFailed."""
    try:
        AddressRules(settings.allow_private)
    except ValueError as error:
        raise CommandFailed(f"--allow-private: {error}", ExitCode.USAGE) from None
    try:
        ClientAddresses(settings.trusted_proxy)
    except ValueError as error:
        raise CommandFailed(f"--trusted-proxy: {error}", ExitCode.USAGE) from None
    metrics_address(settings.metrics_address)
    if settings.otlp_endpoint and http_url(settings.otlp_endpoint) is None:
        raise CommandFailed(
            f"--otlp-endpoint: {settings.otlp_endpoint!r} is not a URL such as http://127.0.0.1:4318",
            ExitCode.USAGE,
        )
    if settings.wire.beat_s >= settings.wire.silence_s:
        raise CommandFailed(
            "--beat-s must be shorter than --silence-s, or every connection counts as dead", ExitCode.USAGE
        )
    place = storage_place(settings.storage)
    try:
        redirects_of(settings.file_redirect, bucket=not isinstance(place, FilePlace))
    except ValueError as error:
        raise CommandFailed(f"--file-redirect: {error}", ExitCode.USAGE) from None
    for origin in settings.cors_origin:
        if not valid_origin(origin):
            raise CommandFailed(
                f"--cors-origin: {origin!r} is no origin such as https://app.example.org, and not '*'",
                ExitCode.USAGE,
                "scheme, host, and port if it is not the usual one, without a path",
            )


async def _build(
    settings: ServeSettings, data: DataDir, public_url: str, parts: AsyncExitStack, run: _Run
) -> tuple[Services, Backups, LastUse]:
    limits, clock = settings.limits, SystemClock()
    tracing = _tracing(settings, parts)
    signer = Signer(data.key("signed urls"))
    ids = Ids(data.key("prediction ids"))
    await asyncio.to_thread(migrate, data.database_url)
    store = await Store.open(data.database_url, clock=clock.now)
    parts.push_async_callback(store.close)
    place = storage_place(settings.storage)
    blobs = await open_storage(place, data.blobs)
    parts.push_async_callback(blobs.close)
    storages = SqliteStorages(
        data.objects,
        MODEL_SCHEMA,
        threads=limits.writer_threads,
        open_limit=limits.open_storages,
        commit_delay_s=settings.bench_commit_delay_s,
    )
    coordinators = Coordinators(
        store=store,
        storages=storages,
        placement=LocalPlacement(),
        blobs=blobs,
        signer=signer,
        clock=clock,
        limits=limits,
        on_fatal=run.fail,
        tell=None if tracing is None else tracing.tell,
    )
    last_use = LastUse(store.token_changes, clock)
    authenticator = Authenticator(
        store.tokens,
        limits.token_recheck_s,
        clock,
        failures_per_min=limits.failed_logins_per_min,
        clients=ClientAddresses(settings.trusted_proxy),
        on_use=last_use.note,
    )
    gateway = Gateway(
        store=store,
        models=coordinators.models,
        authenticator=authenticator,
        wire_limits=settings.wire,
        clock=clock,
    )
    subscriptions = Subscriptions(
        coordinators.models, store.index, coordinators.projector, limits.history_bytes
    )
    legacy = LegacyDoor(
        store=store,
        models=coordinators.models,
        blobs=blobs,
        authenticator=authenticator,
        limits=limits,
        wire_limits=settings.wire,
        public_url=public_url,
        clock=clock,
    )
    webhook_secret = data.key(WEBHOOK_SECRETS)
    webhooks = Webhooks(
        store=store,
        blobs=blobs,
        secrets=Secrets(store.webhook_secrets, ProviderKeys(lambda: webhook_secret), clock.now),
        signer=signer,
        clock=clock,
        limits=limits,
        public_url=public_url,
        rules=AddressRules(settings.allow_private),
    )
    overflow = overflow_door(
        settings,
        store=store,
        coordinators=coordinators,
        blobs=blobs,
        signer=signer,
        clock=clock,
        secret=data.key(LABEL),
        public_url=public_url,
        parts=parts,
    )
    coordinators.connect(AllSockets((gateway, legacy)), webhooks.sender, overflow)
    parts.push_async_callback(_bounded, last_use.stop, "last use of tokens")
    parts.push_async_callback(_bounded, webhooks.stop, "webhooks")
    parts.push_async_callback(_bounded, coordinators.stop, "coordinators")
    parts.push_async_callback(_bounded, authenticator.stop, "tokens")
    parts.push_async_callback(_bounded, subscriptions.stop, "subscriptions")
    retention = Retention(store, blobs, clock, limits)
    parts.push_async_callback(_bounded, retention.stop, "retention")
    leftovers = Leftovers(blobs)
    parts.push_async_callback(_bounded, leftovers.stop, "leftovers")
    backups = Backups(data, storages, blobs, place, coordinators.projector)
    parts.push_async_callback(_bounded, backups.stop, "backups")
    sleepers = Sleepers(store.objects, coordinators)
    parts.push_async_callback(_bounded, sleepers.stop, "sleepers")
    await coordinators.start()
    await sleepers.start()
    await retention.start()
    await leftovers.start()
    services = Services(
        public_url=public_url,
        limits=limits,
        store=store,
        blobs=blobs,
        signer=signer,
        ids=ids,
        clock=clock,
        coordinators=coordinators,
        authenticator=authenticator,
        subscriptions=subscriptions,
        gateway=gateway,
        legacy=legacy,
        file_urls=settings.file_urls,
        cors_origins=settings.cors_origin,
        redirects=Redirects(settings.file_redirect),
        currency=settings.currency,
        access=AccessLog(settings.access_log, ClientAddresses(settings.trusted_proxy)),
        webhooks=webhooks,
        overflow=overflow if settings.replicate_url else None,
        retention=retention,
        tracing=tracing,
    )
    return services, backups, last_use


def _tracing(settings: ServeSettings, parts: AsyncExitStack) -> Tracing | None:
    """Where spans go; None for nowhere. What is left is sent at the end. Raises CommandFailed."""
    if not settings.otlp_endpoint:
        return None
    try:
        otlp = Otlp(settings.otlp_endpoint, "cogflare-server", version("cogflare"))
    except NoTelemetry as error:
        raise CommandFailed(
            f"--otlp-endpoint: {error}",
            ExitCode.NOT_INSTALLED,
            "install cogflare[server,otel]",
        ) from None

    async def close() -> None:
        await asyncio.to_thread(otlp.close)

    parts.push_async_callback(_bounded, close, "traces")
    return Tracing(otlp.tell, settings.trace_ratio)


async def _first_token(store: Store, data: DataDir) -> str | None:
    """On a first start the secret of a new admin token, which is also in ``DATA/admin-token``."""
    if any("admin" in token.scopes for token in await store.tokens.list()):
        return None
    data.admin_token.unlink(missing_ok=True)  # of a start that did not come as far as the database
    who = By(door="files", who=user(os.getuid()))
    async with Acts(store.audit).doing(who, "token.create", "default/admin", scopes=["admin"]):
        _, secret = await store.tokens.create(name="admin", scopes=("admin",))
    write_secret(data.admin_token, secret.encode() + b"\n")
    return secret


def _orders(
    services: Services, backups: Backups, last_use: LastUse, data: DataDir, url: str, storage: str, run: _Run
) -> Orders:
    def status() -> Status:
        state = "draining" if services.draining.is_set() else "ready" if services.ready else "waking"
        return Status(
            version=version("cogflare"),
            process=os.getpid(),
            url=url,
            data=str(data.path),
            started_at=rfc3339(run.started_at),
            state=state,
            public_url=services.public_url,
            storage=storage,
        )

    provider_secret = data.key(LABEL)
    return Orders(
        TokenOrders(
            services.store,
            provider_keys=ProviderKeys(lambda: provider_secret),
            now=services.clock.now,
            on_revoked=services.authenticator.forget,
            on_changed=services.authenticator.changed,
            settle=last_use.settle,
        ),
        KeyOrders(
            services.store,
            most=services.limits.keys_per_token,
            now=services.clock.now,
            on_revoked=services.authenticator.forget,
            on_changed=services.authenticator.changed,
            settle=last_use.settle,
        ),
        acts=Acts(services.store.audit),
        status=status,
        records=Records(services.store, services.webhooks.secrets, services.currency),
        fleet=Fleet(
            services.store,
            services.models,
            services.ids,
            services.clock.now,
            services.blobs,
            services.projector.all_pending,
        ).carry_out,
        backups=backups.carry_out,
    )


def _tune_interpreter() -> None:
    """What was imported and built stays for good: keep the collector from walking it again and again, and let
    it look at what requests leave behind less often. A storage thread that comes back from the disk gets its
    turn sooner than Python's 5 ms, in which a whole group of answers would wait."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)


async def _until(event: asyncio.Event, server: "asyncio.Task[None]") -> None:
    """Wait for the event; what ends the HTTP server before is raised."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((waiting, server), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if server.done() and not event.is_set():
        await server
        raise CommandFailed("the HTTP server ended by itself")


async def _end(serving: "asyncio.Task[None]") -> None:
    """After a failure the HTTP server must not go on while the parts under it are taken away."""
    serving.cancel()
    await asyncio.wait((serving,), timeout=STOP_S)


async def _bounded(stop: Callable[[], Awaitable[None]], name: str) -> None:
    try:
        async with asyncio.timeout(STOP_S):
            await stop()
    except TimeoutError:
        log.warning("%s did not stop within %g s: cut off", name, STOP_S)


def _announce(local_url: str, public_url: str, data: DataDir, secret: str | None, metrics: str) -> None:
    """What a person wants to know, on stdout; the first token only when a person is reading."""
    lines = [f"Cogflare {version('cogflare')} is ready", f"  URL         {local_url}"]
    if public_url != local_url:
        lines.append(f"  public URL  {public_url}")
    lines.append(f"  data        {data.path}")
    if metrics:
        lines.append(f"  metrics     {metrics}")
    if secret is not None and sys.stdout.isatty():
        lines.append(f"  token       {secret}")
        lines.append(f"              (admin, shown this once; it is also in {data.admin_token})")
    elif secret is not None:
        lines.append(f"  token       in {data.admin_token} (admin)")
    print("\n".join(lines), flush=True)
