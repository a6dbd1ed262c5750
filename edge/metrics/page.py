"""What ``/metrics`` shows: gauges read when it is asked, counters as they stand."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from coordinator.prediction import TERMINAL
from coordinator.tally import Tally
from edge.metrics.exposition import Page
from edge.metrics.models import ModelIs, age_s
from edge.metrics.process import write_process
from edge.services import Services

_PLACES = {False: "own", True: "provider"}


async def metrics_page(services: Services) -> bytes:
    """The whole page."""
    models = await services.watched.shown()
    page = Page()
    _write_server(page, services)
    _write_requests(page, services)
    _write_commits(page, services)
    _write_now(page, models, services.clock.now())
    _write_counts(page, models)
    return page.text()


def _write_server(page: Page, services: Services) -> None:
    page.family("cogflare_build_info", "gauge", "1; the version is in the label.")
    page.sample(1, version=version("cogflare"))
    write_process(page, services.started_at)
    page.family("cogflare_ready", "gauge", "1 once everything that was at work before a restart is back.")
    page.sample(int(services.ready))
    page.family("cogflare_live_models", "gauge", "Models in pools whose queue is in memory.")
    page.sample(len(services.coordinators.namespace.actors()))
    page.family("cogflare_agents", "gauge", "Connected agents, those of 2022 not among them.")
    page.sample(services.gateway.connected)
    page.family("cogflare_index_behind", "gauge", "Predictions whose state the index does not have yet.")
    page.sample(services.projector.behind)


def _write_requests(page: Page, services: Services) -> None:
    requests = services.requests
    page.family("cogflare_http_requests_total", "counter", "Answered requests.")
    for (operation, status), count in requests.answers.items():
        page.sample(count, operation=operation, status=str(status))
    page.family("cogflare_http_request_seconds", "histogram", "From a request to the begin of its answer.")
    for operation, seconds in requests.seconds.items():
        page.histogram(seconds, operation=operation)
    page.family("cogflare_refusals_total", "counter", "Answers that are an error, by its code.")
    for code, count in requests.refusals.items():
        page.sample(count, code=code)


def _write_commits(page: Page, services: Services) -> None:
    commits = services.coordinators.watch.commits
    page.family("cogflare_commit_seconds", "histogram", "How long a commit of a queue took.")
    page.histogram(commits.seconds)
    page.family("cogflare_commit_rows", "histogram", "Rows that shared one commit.")
    page.histogram(commits.rows)


def _write_now(page: Page, models: Sequence[ModelIs], now: int) -> None:
    for name, meaning, label, values in _GAUGES:
        page.family(name, "gauge", meaning)
        for each in models:
            for value, of in values(each, now):
                page.sample(of, model=each.model, pool=each.pool, **({label: value} if label else {}))


def _write_counts(page: Page, models: Sequence[ModelIs]) -> None:
    for name, meaning, labels, values in _COUNTERS:
        page.family(name, "counter", meaning)
        for each in models:
            for of, *told in values(each.tally):
                page.sample(of, model=each.model, pool=each.pool, **dict(zip(labels, told, strict=True)))
    page.family("cogflare_wait_seconds", "histogram", "From a prediction's creation to its first dispatch.")
    for each in models:
        page.histogram(each.tally.waits, model=each.model, pool=each.pool)
    page.family("cogflare_run_seconds", "histogram", "From a prediction's start to its end.")
    for each in models:
        page.histogram(each.tally.runs, model=each.model, pool=each.pool)


def _running(each: ModelIs) -> list[tuple[str, float]]:
    return [("own", each.figures.running), ("provider", each.figures.elsewhere)]


def _sessions(each: ModelIs) -> list[tuple[str, float]]:
    return list({"ready": 0, "loading": 0, **each.figures.workers}.items())


def _slots(each: ModelIs) -> list[tuple[str, float]]:
    return [("busy", each.figures.busy), ("free", each.figures.free)]


_Gauge = tuple[str, str, str, Callable[[ModelIs, int], Sequence[tuple[str, float]]]]
_GAUGES: tuple[_Gauge, ...] = (
    (
        "cogflare_queue_depth",
        "Predictions that wait.",
        "",
        lambda each, _: [("", each.figures.queued)],
    ),
    (
        "cogflare_queue_held",
        "Those of them that more workers would not help: their token runs as many as it may, they are "
        "for a provider, or the model is paused.",
        "",
        lambda each, _: [("", each.figures.held)],
    ),
    (
        "cogflare_queue_oldest_age_seconds",
        "Since the oldest of them was created, 0 when none waits.",
        "",
        lambda each, now: [("", age_s(each.figures, now))],
    ),
    (
        "cogflare_queue_backlog_seconds",
        "How long one slot would take for them, by the runs before.",
        "",
        lambda each, _: [("", each.figures.queued * each.figures.run_s)],
    ),
    (
        "cogflare_predictions_running",
        "Predictions with an open attempt, by where it is.",
        "place",
        lambda each, _: _running(each),
    ),
    (
        "cogflare_sessions",
        "Workers connected for the model, by what they do, or what keeps work away.",
        "state",
        lambda each, _: _sessions(each),
    ),
    (
        "cogflare_slots",
        "Predictions that its workers run and could run more at once.",
        "state",
        lambda each, _: _slots(each),
    ),
    (
        "cogflare_desired_workers",
        "Workers that what waits and runs needs (--scale-wait-s).",
        "",
        lambda each, _: [("", each.desired)],
    ),
    (
        "cogflare_webhooks_due",
        "Webhooks of ends that are not delivered.",
        "",
        lambda each, _: [("", each.figures.webhooks)],
    ),
)

_Counter = tuple[str, str, tuple[str, ...], Callable[[Tally], Sequence[tuple[Any, ...]]]]
_COUNTERS: tuple[_Counter, ...] = (
    (
        "cogflare_predictions_created_total",
        "Accepted predictions.",
        (),
        lambda tally: [(tally.created,)],
    ),
    (
        "cogflare_predictions_ended_total",
        "Ended predictions.",
        ("status",),
        lambda tally: [(tally.ended[status], status.value) for status in sorted(TERMINAL)],
    ),
    (
        "cogflare_attempts_total",
        "Attempts of ended predictions, by what became of them.",
        ("outcome", "place"),
        lambda tally: [
            (count, outcome, _PLACES[provider]) for (outcome, provider), count in tally.attempts.items()
        ],
    ),
    (
        "cogflare_webhook_tries_total",
        "Tries to deliver the webhook of an end; given_up counts webhooks.",
        ("result",),
        lambda tally: [(tally.webhooks[result], result) for result in ("delivered", "failed", "given_up")],
    ),
    (
        "cogflare_overflow_cost_total",
        "What predictions have cost at a provider, by model set --replicate-price.",
        (),
        lambda tally: [(tally.cost,)],
    ),
)
