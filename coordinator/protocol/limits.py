"""Every limit of Cogflare, with its unit, default and setting.

A field's metadata makes its option: ``queue_length`` is ``--queue-length`` and ``COGFLARE_QUEUE_LENGTH``.
Nothing else in the code names a number that a user could run into.
"""

from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

KIB = 1024
MIB = 1024 * KIB
FOREVER_S = 1e10
"""A time that does not end, as far as anybody here is concerned: three centuries."""
UNUSED_ENVIRONMENT_S = 30 * 86_400.0
"""How long what ``--install`` made is kept without use."""

MODEL_TEXT_LENGTH = 1000
"""Longest description of a model, or link to what is said of it, in characters,"""
MODEL_README_LENGTH = 100_000
"""and its longest readme: no settings, for lists and caches hold them."""
MODEL_EXAMPLES, MODEL_EXAMPLE_BYTES = 25, MIB
"""Most examples of a model, which are one page, and the longest input and output of one together, in bytes:
no settings, for a list of models shows one of each."""
SEARCH_LENGTH, SEARCH_WORDS = 1000, 32
"""Longest text of a search in characters, and the most words in it: no settings, nobody writes more."""
LEAST_PART_BYTES, PARTS = 5 * MIB, 1000
"""Smallest part of a file that an object store takes, and the most parts of one file, whose parts are larger
where they would be more. No settings: stores have the first, and list no more than the second at once."""
LEGACY_INPUT_BYTES = 960 * KIB
"""Largest input of a worker of 2022: no setting, for such a worker takes no message above 1 MiB."""
LEGACY_FILE_BYTES = 2 * KIB
"""What a file in it counts: its signed URL."""


def _limit(default: T, what: str, minimum: float | None = None, option: str = "") -> T:
    bounds: dict[str, object] = {} if minimum is None else {"minimum": minimum}
    if option:
        bounds["option"] = option
    value: T = field(default=default, metadata={"help": what, **bounds})
    return value


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What both ends of an agent's websocket hold each other to."""

    frame_bytes: int = _limit(16 * MIB, "largest websocket message between agent and server", 64 * KIB)
    result_bytes: int = _limit(8 * MIB, "largest output of one prediction, as JSON without its files")
    log_bytes: int = _limit(1 * MIB, "logs kept of one prediction; the oldest part gives way, marked")
    beat_s: float = _limit(10.0, "time between heartbeats on an agent's connection", 0.1)
    silence_s: float = _limit(
        30.0, "time of silence after which a worker is suspect: it gets no work, its lease begins", 0.2
    )
    hello_s: float = _limit(10.0, "time that an agent has for its first message", 0.1)
    handshakes: int = _limit(
        200, "agents' connections that may be on their way to their first attach; more are asked to wait", 1
    )
    channels: int = _limit(64, "models that one agent may serve")
    name_bytes: int = _limit(255, "longest file name, in UTF-8 bytes")
    part_bytes: int = _limit(
        64 * MIB,
        "output files above this go from agent to storage in parts of it, of which only the missing are sent "
        "again after a cut",
        LEAST_PART_BYTES,
    )


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What every connection is held to, before anybody knows whose it is."""

    connections: int = _limit(
        10_000, "connections open at once, agents' among them; fewer where the system's open files are", 1
    )
    address_connections: int = _limit(
        1000, "connections of one address (IPv6: /64) that is no --trusted-proxy; 0 is no limit", 0
    )
    url_bytes: int = _limit(8 * KIB, "longest path and query of a request", 256)
    header_bytes: int = _limit(32 * KIB, "headers of a request together", KIB)
    header_count: int = _limit(100, "headers of a request", 10)
    head_s: float = _limit(10.0, "time that URL and headers of a request have to arrive", 0.1)
    body_rate_bytes: int = _limit(
        KIB, "bytes a second that a body must bring, on the average of --body-window-s"
    )
    body_window_s: float = _limit(30.0, "time after which a body that comes more slowly is given up", 0.1)
    unread_s: float = _limit(60.0, "time that a client may leave its answer unread", 0.1)
    keep_alive_s: float = _limit(
        75.0, "time that a connection may be idle between requests; longer than that of usual proxies", 0.1
    )


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server holds clients, agents and itself to."""

    body_bytes: int = _limit(8 * MIB, "largest JSON request body; larger inputs go through POST /v1/files")
    creations_per_min: int = _limit(
        600, "predictions, files and other things that a token may create in a minute; 0 is no limit", 0
    )
    requests_per_min: int = _limit(
        3000, "other requests of a token in a minute, such as polling; 0 is no limit", 0
    )
    keys_per_token: int = _limit(10_000, "keys that one token may have made and that are good", 0)
    failed_logins_per_min: int = _limit(
        60, "wrong tokens that one address may try in a minute; 0 is no limit", 0
    )
    input_depth: int = _limit(100, "lists and objects inside each other in an input", 1)
    inline_bytes: int = _limit(
        64 * KIB,
        "largest data URL that stays in an input where it is a file; a larger one is stored as a file",
    )
    row_input_bytes: int = _limit(
        64 * KIB, "largest input that is kept in the queue's row; a larger one is a file in the storage", 0
    )
    file_bytes: int = _limit(100 * MIB, "largest file uploaded by a client")
    form_bytes: int = _limit(256 * KIB, "what is beside the file in the form that uploads it", KIB)
    form_parts: int = _limit(100, "parts of such a form", 2)
    output_file_bytes: int = _limit(5 * 1024 * MIB, "largest output file uploaded by an agent")
    metadata_bytes: int = _limit(4 * KIB, "largest metadata of one prediction, as JSON")
    data_url_bytes: int = _limit(
        10 * MIB, "output files of one prediction that an answer may hold as data URIs (--file-urls)", 0
    )
    wait_s: float = _limit(55.0, "longest time that Prefer: wait holds a request (below the SDKs' 60 s)")
    openai_s: float = _limit(600.0, "longest time that an answer below /openai/v1 is waited for", 1.0)
    idempotency_s: float = _limit(86_400.0, "time that an Idempotency-Key is remembered", 1.0)
    lost_answer_s: float = _limit(
        120.0, "time in which a creation that a client sends again, its answer being lost, creates no other"
    )
    lost_answers: int = _limit(200, "creations of one token that are remembered for that", 1)
    batch_length: int = _limit(500, "predictions that one request may create", 1)
    page_size: int = _limit(100, "predictions in one page of a list")
    queue_length: int = _limit(1_000_000, "predictions that may wait for one model")
    queue_bytes: int = _limit(1024 * MIB, "input bytes that may wait for one model")
    queue_window: int = _limit(
        10_000, "waiting predictions of one model kept in memory; the rest is on disk", 1
    )
    queue_window_bytes: int = _limit(
        64 * MIB, "input bytes of waiting predictions of one model kept in memory; one may be larger", 1
    )
    refill_bytes: int = _limit(16 * MIB, "input bytes read at once when waiting predictions come from disk")
    index_backlog: int = _limit(
        20_000, "new predictions of one model that the index may be behind before more are refused"
    )
    queue_s: float = _limit(3600.0, "longest time that a prediction waits before it is canceled")
    ageing_s: float = _limit(600.0, "time of waiting after which a prediction gains a class", 1.0)
    run_s: float = _limit(1800.0, "longest time that one attempt may run")
    training_queue_s: float = _limit(86_400.0, "longest time that a training waits before it is canceled")
    training_s: float = _limit(86_400.0, "longest time that one attempt of a training may run")
    max_attempts: int = _limit(3, "dispatches of one prediction before it fails as worker_lost", 1)
    poison_after: int = _limit(
        2, "processes that one prediction may crash before it fails as poison, within --max-attempts", 1
    )
    quarantine_after: int = _limit(
        3, "predictions that may go wrong in a row on a worker before it is quarantined", 1
    )
    quarantine_s: float = _limit(
        60.0, "time before a quarantined worker is tried with one prediction; doubled when that fails", 0.1
    )
    lease_s: float = _limit(120.0, "time that a lost worker keeps its prediction before another gets it")
    cancel_grace_s: float = _limit(10.0, "time that a canceled prediction has before its runner is killed")
    history_bytes: int = _limit(
        1 * MIB, "streamed output kept in memory for one running prediction, the first and the last of it"
    )
    stream_heartbeat_s: float = _limit(15.0, "time between comments on an idle event stream", 0.1)
    stream_queue_s: float = _limit(
        2.0, "time between looks at the place in the queue, for the stream of a prediction that waits", 0.1
    )
    stream_stall_s: float = _limit(
        60.0, "time that a stream's reader has to take what waits for it, 128 KiB, before it is cut off", 0.1
    )
    legacy_job_files: int = _limit(1000, "files that a worker of 2022 may upload for one job")
    legacy_job_bytes: int = _limit(5 * 1024 * MIB, "bytes that a worker of 2022 may upload for one job")
    overflow_running: int = _limit(
        50, "predictions of one token and one model that may run at a provider at the same time", 1
    )
    overflow_settle_s: float = _limit(
        10.0, "time after a start in which own workers may come back before anything runs at a provider"
    )
    overflow_poll_s: float = _limit(
        5.0, "longest time between two looks at what runs at a provider; half a second while it changes", 0.1
    )
    overflow_answer_s: float = _limit(30.0, "time that a provider has for each answer", 0.1)
    overflow_lookup_s: float = _limit(
        300.0, "time that a provider's word on a model that is not known here is taken for true", 1.0
    )
    overflow_inline_bytes: int = _limit(
        MIB,
        "input files of one prediction that a provider gets as data URIs, where it cannot fetch them from us",
        0,
    )
    overflow_per_day: int = _limit(
        0, "predictions of one token that may run at a provider in a day (UTC); 0 is no limit", 0
    )
    overflow_cost_per_day: float = _limit(
        0.0,
        "what those of one token may cost in a day, by model set --replicate-price; 0 is no limit",
        0.0,
    )
    usage_days: int = _limit(400, "days for which is kept what predictions came to (cogflare usage)", 1)
    retention_s: float = _limit(
        7 * 86_400.0,
        "time that input, output, logs and files of a prediction are kept after its end, where neither its "
        "request nor its token nor its model says more; forever for no end",
        option="retention",
    )
    retention_at_most_s: float = _limit(
        FOREVER_S, "the longest that a request, token or model may have them kept", option="retention_at_most"
    )
    forget_s: float = _limit(
        90 * 86_400.0,
        "time after that in which a prediction can still be read and listed, without them",
        option="forget_after",
    )
    file_ttl_s: float = _limit(86_400.0, "time that a file uploaded by a client is kept")
    file_url_ttl_s: float = _limit(86_400.0, "time that a signed file URL is valid")
    upload_ttl_s: float = _limit(3600.0, "time that an agent's upload URL is valid")
    token_recheck_s: float = _limit(1.0, "time that a token is trusted without looking again")
    call_s: float = _limit(30.0, "time that a call to a coordinator may take", 0.1)
    idle_s: float = _limit(60.0, "time without use after which a coordinator leaves memory")
    webhook_s: float = _limit(10.0, "time that a webhook's receiver has to answer", 0.1)
    webhook_retry_s: float = _limit(86_400.0, "time for which the webhook of an end is tried again")
    webhook_log_s: float = _limit(86_400.0, "time that is remembered what became of a webhook")
    webhook_connections: int = _limit(200, "webhooks on their way at once", 1)
    webhook_account_connections: int = _limit(64, "webhooks of one account on their way at once", 1)
    webhook_host_connections: int = _limit(8, "webhooks on their way at once to one receiver", 1)
    live_models: int = _limit(
        20_000,
        "models in use at once, with workers or something running: each takes some 20 to 90 KB of memory; "
        "more are refused with 503 models_full",
        1,
    )
    metrics_models: int = _limit(
        200, "models in pools that /metrics shows by name, those used first; the rest is one, named other", 0
    )
    scale_wait_s: float = _limit(
        30.0, "time in which what waits is to have begun, for the number of workers that a model needs"
    )
    wake_concurrency: int = _limit(16, "coordinators loaded at the same time after a restart")
    writer_threads: int = _limit(4, "threads that commit coordinators' storage")
    open_storages: int = _limit(256, "coordinators' database files kept open")
    drain_s: float = _limit(10.0, "time that SIGTERM gives to requests in progress")
