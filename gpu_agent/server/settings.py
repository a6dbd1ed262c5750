"""What a cog-server can be told, once, at its start. Each field is an option and an environment variable;
where Cog has a variable of its own for the same thing, that one is read too."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from coordinator.protocol.limits import MIB, UNUSED_ENVIRONMENT_S

T = TypeVar("T")

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]
Isolation = Literal["auto", "uid", "off"]


def _setting(default: T, what: str, **more: Any) -> T:
    value: T = field(default=default, metadata={"help": what, **more})
    return value


@dataclass(frozen=True, slots=True)
class CogServerLimits:
    """What a client, a model or the network can run into."""

    queue_size: int = _setting(
        0,
        "predictions that may wait for a free slot; with 0 they are refused",
        minimum=0,
        also="COG_QUEUE_SIZE",
    )
    refuse_after_s: float = _setting(
        0.01, "time that a request waits for a slot before it is refused for want of one"
    )
    setup_timeout_s: float = _setting(
        0.0, "longest time that the model's setup() may take; 0 for any", also="COG_SETUP_TIMEOUT"
    )
    run_s: float = _setting(0.0, "longest time that one prediction may run; 0 for any")
    cancel_grace_s: float = _setting(
        10.0, "time that a canceled prediction has before the model's process is killed and started again"
    )
    drain_s: float = _setting(
        600.0, "time that SIGTERM and /shutdown give to accepted predictions and their webhooks"
    )
    body_bytes: int = _setting(100 * MIB, "largest request body")
    log_bytes: int = _setting(MIB, "logs kept of one prediction; the oldest part gives way, marked")
    kept: int = _setting(1000, "ended predictions that can still be looked up", minimum=0)
    kept_s: float = _setting(600.0, "time for which an ended prediction can be looked up")
    kept_bytes: int = _setting(64 * MIB, "memory for ended predictions, as JSON")
    input_bytes: int = _setting(1024 * MIB, "largest input file that is fetched")
    input_s: float = _setting(300.0, "longest time that fetching one input file may take")
    upload_s: float = _setting(
        300.0, "longest time that one try to upload an output file may take", minimum=0.1
    )
    upload_tries: int = _setting(3, "times that the upload of an output file is tried")
    webhook_interval_s: float = _setting(
        0.5,
        "shortest time between two webhooks for output or logs",
        also="COG_THROTTLE_RESPONSE_INTERVAL",
    )
    stream_history: int = _setting(
        1024,
        "events of one prediction kept for streams that begin late or come back; 0 for none",
        minimum=0,
        also="COG_STREAM_HISTORY_CAPACITY",
    )
    streams: int = _setting(1024, "event streams at the same time")
    stream_heartbeat_s: float = _setting(15.0, "time between comments on an idle event stream", minimum=0.1)
    stream_linger_s: float = _setting(
        5.0, "time after which a prediction made by a stream is canceled when nobody streams it any more"
    )


@dataclass(frozen=True, slots=True)
class ProcedureLimits:
    """What procedures and those who name them can run into."""

    max_runners: int | None = field(
        default=None,
        metadata={
            "help": "procedures that are set up at the same time; default four for each CPU",
            "also": "COG_MAX_RUNNERS",
        },
    )
    runner_processes: int = _setting(
        4096, "processes and threads of one procedure, where it runs as a user of its own"
    )
    source_bytes: int = _setting(1024 * MIB, "largest archive of a procedure")
    unpacked_bytes: int = _setting(4096 * MIB, "largest source of a procedure, unpacked or copied")
    source_files: int = _setting(100_000, "files, folders and links in the source of a procedure")
    source_s: float = _setting(
        300.0, "longest time that fetching a source may take, and again unpacking or copying it"
    )


@dataclass(frozen=True, slots=True)
class CogServerSettings:
    """Settings of ``cogflare cog-server``."""

    dir: Path = field(default=Path(), metadata={"help": "the model's folder", "positional": True})
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for all, as in a container")
    port: int = _setting(5000, "port to listen on; 0 for a free one", minimum=0, maximum=65535, also="PORT")
    python: str = _setting(
        "", "interpreter that the predictor runs in; this one when not given", metavar="PATH"
    )
    install: bool = _setting(
        False, "run the model in an environment of what its cog.yaml lists, unless --python is given"
    )
    cache: Path | None = field(
        default=None, metadata={"help": "directory for what --install makes; default ~/.cache/cogflare"}
    )
    unused_environment_s: float = _setting(
        UNUSED_ENVIRONMENT_S,
        "time without use after which an environment that --install made is removed; 0 for never",
        minimum=0.0,
    )
    predictor: str = _setting(
        "", "FILE.py:NAME of the predictor, instead of what cog.yaml says", also="COG_PREDICT_TYPE_STUB"
    )
    trainer: str = _setting(
        "", "FILE.py:NAME of what trains the model, instead of what cog.yaml says", also="COG_TRAIN_TYPE_STUB"
    )
    x_mode: Literal["predict", "train"] = field(
        default="predict",
        metadata={"help": "what POST /predictions runs: with train, the function that trains the model"},
    )
    max_concurrency: int | None = field(
        default=None,
        metadata={
            "help": "predictions at the same time, instead of what cog.yaml says",
            "also": "COG_MAX_CONCURRENCY",
        },
    )
    upload_url: str = _setting(
        "", "put output files below this URL, instead of into the answer", metavar="URL"
    )
    public_inputs_only: bool = _setting(
        False, "refuse input and webhook URLs that lead to an address that is not public"
    )
    allow_private: tuple[str, ...] = _setting(
        (),
        "with --public-inputs-only: private network, as 10.0.0.0/8, that is allowed all the same",
        metavar="CIDR",
    )
    webhook_token: str = _setting("", "bearer token that webhooks carry", also="WEBHOOK_AUTH_TOKEN")
    user_agent: str = _setting("", "User-Agent of webhooks and uploads", also="COG_USER_AGENT")
    await_explicit_shutdown: bool = _setting(False, "ignore SIGTERM: only POST /shutdown ends the server")
    procedure_mode: bool = _setting(
        False,
        "serve, instead of a model, what requests name by procedure_source_url",
        also="COG_USE_PROCEDURE_MODE",
    )
    use_procedure_mode: bool = _setting(False, "the same, as Cog's second generation spelt it", hidden=True)
    isolation: Isolation = field(
        default="auto",
        metadata={
            "help": "whether each procedure runs as a user of its own: uid, off, or auto: uid if we are root"
        },
    )
    wait_file: Path | None = field(
        default=None,
        metadata={"help": "load the model when this file is there, within 60 s", "also": "COG_WAIT_FILE"},
    )
    ready_file: Path | None = field(
        default=None,
        metadata={"help": "file to make once the model is ready; /var/run/cog/ready in Kubernetes"},
    )
    log_level: LogLevel = field(
        default="info", metadata={"help": "what is logged to stderr", "also": "COG_LOG_LEVEL"}
    )
    log_format: LogFormat = field(
        default="console", metadata={"help": "how it is logged", "also": "LOG_FORMAT"}
    )
    threads: int | None = field(
        default=None, metadata={"help": "does nothing: there for Cog's command lines", "hidden": True}
    )
    limits: CogServerLimits = field(default_factory=CogServerLimits, metadata={"help": "Limits"})
    procedures: ProcedureLimits = field(
        default_factory=ProcedureLimits, metadata={"help": "Limits of procedures"}
    )
