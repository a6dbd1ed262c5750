"""What can be set on each of the server's commands: frozen dataclasses, parsed once by ``edge.options``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from coordinator.protocol.limits import KIB, MIB, UNUSED_ENVIRONMENT_S, DoorLimits, ServerLimits, WireLimits
from edge.daily_settings import DAILY, DailySettings, TokenDailySettings
from edge.where import DATA, DEFAULT_DATA, WHERE, Where

AccessLevel = Literal["off", "errors", "all"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
FileUrls = Literal["auto", "url", "data"]


@dataclass(frozen=True)
class ServeSettings:
    """``cogflare serve``."""

    host: str = field(default="127.0.0.1", metadata={"help": "address to listen on; 0.0.0.0 for all"})
    port: int = field(
        default=8000,
        metadata={"help": "port to listen on; 0 for a free one", "minimum": 0, "maximum": 65535},
    )
    data: Path = field(default=DEFAULT_DATA, metadata=DATA)
    public_url: str | None = field(
        default=None,
        metadata={
            "help": "how clients and agents reach this server; made of host and port when not given",
            "metavar": "URL",
        },
    )
    replicate_url: str = field(
        default="https://api.replicate.com",
        metadata={
            "help": "where predictions run that overflow (model set --overflow): Replicate, or another "
            "Cogflare; empty for nowhere",
            "metavar": "URL",
        },
    )
    currency: str = field(
        default="USD", metadata={"help": "what the money of prices and budgets is called in reports"}
    )
    storage: str = field(
        default="",
        metadata={
            "help": "where files are kept: file:///FOLDER, or s3://BUCKET/PREFIX?endpoint=URL&region=R; "
            "DATA/blobs when not given",
            "metavar": "URL",
        },
    )
    file_redirect: str = field(
        default="",
        metadata={
            "help": "send who reads a file on to the bucket itself ('bucket') or to a CDN in front of it "
            "(URL), unless a token comes along",
            "metavar": "bucket|URL",
        },
    )
    cors_origin: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "origin whose pages may call the API from browsers, such as https://app.example.org; "
            "'*' for all",
            "metavar": "ORIGIN",
        },
    )
    tls_cert: Path | None = field(
        default=None, metadata={"help": "certificate chain (PEM); with --tls-key, serves https"}
    )
    tls_key: Path | None = field(default=None, metadata={"help": "private key (PEM) of the certificate"})
    allow_private: tuple[str, ...] = field(
        default=(), metadata={"help": "private network, as 10.0.0.0/8, that webhooks may be sent to"}
    )
    trusted_proxy: tuple[str, ...] = field(
        default=("127.0.0.0/8", "::1/128"),
        metadata={
            "help": "network of proxies that are believed who asks (X-Forwarded-For), for limits and the log",
            "metavar": "CIDR",
        },
    )
    file_urls: FileUrls = field(
        default="auto",
        metadata={
            "help": "how answers give output files: as URLs, or as data URIs up to --data-url-bytes; auto is "
            "data URIs for Replicate's own clients while the public URL is http, else URLs"
        },
    )
    log_level: LogLevel = field(default="info", metadata={"help": "what is logged to stderr"})
    log_format: LogFormat = field(default="text", metadata={"help": "how it is written, one line each"})
    access_log: AccessLevel = field(
        default="errors",
        metadata={"help": "requests that are logged, without queries and what is secret in a path"},
    )
    otlp_endpoint: str = field(
        default="",
        metadata={
            "help": "collector that traces are sent to, OTLP over HTTP, as http://127.0.0.1:4318; needs "
            "cogflare[otel]",
            "metavar": "URL",
        },
    )
    trace_ratio: float = field(
        default=1.0,
        metadata={
            "help": "part of the creations without a traceparent that begin a trace; others go by theirs",
            "maximum": 1.0,
        },
    )
    metrics_address: str = field(
        default="",
        metadata={
            "help": "address where whoever reaches it reads /metrics and /scale without a token, as "
            "127.0.0.1:9090; at --port they need one of scope admin",
            "metavar": "HOST:PORT",
        },
    )
    bench_commit_delay_s: float = field(
        default=0.0, metadata={"help": "added to every commit of a coordinator", "hidden": True}
    )
    limits: ServerLimits = field(default_factory=ServerLimits, metadata={"help": "Limits"})
    door: DoorLimits = field(
        default_factory=DoorLimits, metadata={"help": "Limits on connections and requests"}
    )
    wire: WireLimits = field(default_factory=WireLimits, metadata={"help": "Limits on agents' connections"})


@dataclass(frozen=True)
class TokenCreateSettings:
    """``cogflare token create``."""

    name: str = field(metadata={"help": "what the token is for; unique in its account", "positional": True})
    where: Where = field(default_factory=Where, metadata=WHERE)
    account: str = field(default="default", metadata={"help": "account that owns the token"})
    scope: tuple[str, ...] = field(
        default=("submit", "read"),
        metadata={
            "help": "what the token may do",
            "choices": ("submit", "read", "worker", "keys", "admin"),
        },
    )
    worker: str | None = field(
        default=None,
        metadata={
            "help": "a token for the agents of this pool: its only scope is worker",
            "metavar": "POOL",
        },
    )
    replicate: str | None = field(
        default=None,
        metadata={
            "help": "Replicate API key of the token's owner, or @FILE with it; stored encrypted",
            "metavar": "KEY|@FILE",
        },
    )
    pool: tuple[str, ...] = field(
        default=("default",),
        metadata={"help": "pools that serve its predictions, the preferred first"},
    )
    allow_model: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "models that it may use, or register as a worker, such as 'me/*'; any when not given"
        },
    )
    expire_s: float | None = field(
        default=None, metadata={"help": "time after which the token ends; never when not given", "minimum": 1}
    )
    share: float = field(
        default=1.0,
        metadata={"help": "its weight beside other tokens of the account, where both wait for one model"},
    )
    max_running: int = field(
        default=0,
        metadata={
            "help": "predictions of it that run at once on one model in one pool (each counts by itself, "
            "for its queue is its own); 0 is no limit",
            "minimum": 0,
        },
    )
    creations_per_min: int | None = field(
        default=None,
        metadata={
            "help": "how often it may create predictions and other things; 0 is no limit, the server's "
            "(and none for scope admin) when not given",
            "minimum": 0,
            "variable": "TOKEN_CREATIONS_PER_MIN",
        },
    )
    requests_per_min: int | None = field(
        default=None,
        metadata={
            "help": "how often it may ask for anything else, such as how predictions are; as above",
            "minimum": 0,
            "variable": "TOKEN_REQUESTS_PER_MIN",
        },
    )
    retention_s: float | None = field(
        default=None,
        metadata={
            "help": "how long input, output, logs and files of its predictions are kept after their end, "
            "where a request says nothing; the model's time, or the server's, when not given",
            "option": "retention",
            "variable": "TOKEN_RETENTION",
        },
    )
    daily: TokenDailySettings = field(default_factory=TokenDailySettings, metadata=DAILY)
    output: Path | None = field(
        default=None, metadata={"help": "write the secret to this new file (mode 0600) instead of showing it"}
    )
    json: bool = field(default=False, metadata={"help": "print JSON, the secret included"})


@dataclass(frozen=True)
class TokenImportSettings:
    """``cogflare token import``."""

    file: Path = field(
        metadata={
            "help": "JSON: each token with its record, as the key-value store of a Cogflare of 2022 had them",
            "positional": True,
        }
    )
    where: Where = field(default_factory=Where, metadata=WHERE)
    account: str = field(default="default", metadata={"help": "account that all of the file goes into"})
    skip_bad: bool = field(
        default=False, metadata={"help": "import what is right and leave out what is not, instead of nothing"}
    )
    dry_run: bool = field(default=False, metadata={"help": "say what would be done, and change nothing"})
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class TokenListSettings:
    """``cogflare token list``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    account: str | None = field(default=None, metadata={"help": "only the tokens of this account"})
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class TokenRevokeSettings:
    """``cogflare token revoke``."""

    which: str = field(
        metadata={"help": "the token's name, or its id (tok_...)", "positional": True, "metavar": "TOKEN"}
    )
    where: Where = field(default_factory=Where, metadata=WHERE)
    account: str | None = field(default=None, metadata={"help": "account of the name, if several have it"})
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class AccountSetSettings:
    """``cogflare account set``."""

    account: str = field(metadata={"help": "the account's name", "positional": True})
    share: float | None = field(
        default=None,
        metadata={
            "help": "its weight beside other accounts, where both wait for one model; 1 when never set",
        },
    )
    storage_at_most_bytes: int | None = field(
        default=None,
        metadata={
            "help": "bytes that its files may take: with more it creates and uploads nothing; 0 is no limit",
            "option": "storage_at_most",
            "minimum": 0,
        },
    )
    daily: DailySettings = field(default_factory=DailySettings, metadata=DAILY)
    where: Where = field(default_factory=Where, metadata=WHERE)
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class WebhookSecretSettings:
    """``cogflare account rotate-webhook-secret``."""

    account: str = field(metadata={"help": "the account's name", "positional": True})
    where: Where = field(default_factory=Where, metadata=WHERE)
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class AccountListSettings:
    """``cogflare account list``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class WorkerListSettings:
    """``cogflare worker list``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    model: str | None = field(
        default=None, metadata={"help": "only the workers of this model", "variable": "WORKER_MODEL"}
    )
    all: bool = field(default=False, metadata={"help": "also workers of models that nobody uses now"})
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class WorkerMarkSettings:
    """``cogflare worker quarantine``, ``release``, ``drain`` and ``resume``."""

    worker: str = field(metadata={"help": "the worker's name, or its agent id (agt_...)", "positional": True})
    where: Where = field(default_factory=Where, metadata=WHERE)
    model: str | None = field(
        default=None, metadata={"help": "only for this model", "variable": "WORKER_MODEL"}
    )
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class DeadListSettings:
    """``cogflare dead list``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    model: str | None = field(
        default=None, metadata={"help": "only those of this model", "variable": "DEAD_MODEL"}
    )
    limit: int = field(default=100, metadata={"help": "how many at most", "minimum": 1})
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class DeadRedriveSettings:
    """``cogflare dead redrive``."""

    ids: tuple[str, ...] = field(
        metadata={"help": "ids of dead letters", "positional": True, "metavar": "ID"}
    )
    where: Where = field(default_factory=Where, metadata=WHERE)
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class StatusSettings:
    """``cogflare status``."""

    once: bool = field(
        default=False,
        metadata={"help": "look once, as when the output is no terminal", "variable": "STATUS_ONCE"},
    )
    every_s: float = field(
        default=2.0,
        metadata={"help": "time between two looks", "minimum": 0.2, "variable": "STATUS_EVERY_S"},
    )
    json: bool = field(default=False, metadata={"help": "look once and print JSON"})
    where: Where = field(default_factory=Where, metadata=WHERE)


@dataclass(frozen=True)
class BackupSettings:
    """``cogflare backup``."""

    folder: Path = field(
        metadata={
            "help": "where the backup is: empty or new, or one that holds a backup of this server",
            "positional": True,
            "metavar": "TO",
        }
    )
    data: Path = field(default=DEFAULT_DATA, metadata=DATA)
    storage: str = field(
        default="",
        metadata={
            "help": "the server's --storage; what is in a bucket is not copied. A running server knows it",
            "metavar": "URL",
        },
    )
    verify: bool = field(
        default=False,
        metadata={"help": "only read the backup and check every byte", "variable": "BACKUP_VERIFY"},
    )
    rate_bytes: int = field(
        default=64 * MIB,
        metadata={
            "help": "bytes that are read and written in a second; the rest of the disk is the server's",
            "variable": "BACKUP_RATE_BYTES",
            "minimum": 64 * KIB,
        },
    )
    hold_s: float = field(
        default=600.0,
        metadata={
            "help": "longest time that coordinators keep what has ended, until they are copied; over it the "
            "backup fails",
            "variable": "BACKUP_HOLD_S",
            "minimum": 1,
        },
    )
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class RestoreSettings:
    """``cogflare restore``."""

    folder: Path = field(metadata={"help": "a backup", "positional": True, "metavar": "FROM"})
    data: Path = field(
        default=DEFAULT_DATA, metadata={"help": "directory that it is restored to; empty or new"}
    )
    force: bool = field(
        default=False,
        metadata={
            "help": "move what is in the directory aside, to a folder replaced-TIME in it",
            "variable": "RESTORE_FORCE",
        },
    )
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class MigrateSettings:
    """``cogflare migrate``."""

    data: Path = field(default=DEFAULT_DATA, metadata=DATA)


@dataclass(frozen=True)
class InterpreterSettings:
    """What a model of this machine runs in, when a command needs it once."""

    python: Path | None = field(
        default=None,
        metadata={"help": "the model's Python interpreter; this one when not given"},
    )
    install: bool = field(
        default=False,
        metadata={
            "help": "run the model in an environment of what its cog.yaml lists, unless --python is given"
        },
    )
    cache: Path | None = field(
        default=None, metadata={"help": "directory for what --install makes; default ~/.cache/cogflare"}
    )
    unused_environment_s: float = field(
        default=UNUSED_ENVIRONMENT_S,
        metadata={
            "help": "time without use after which an environment that --install made is removed; 0 for never"
        },
    )


@dataclass(frozen=True)
class SchemaSettings:
    """``cogflare schema``."""

    dir: Path = field(metadata={"help": "folder with cog.yaml or predict.py", "positional": True})
    interpreter: InterpreterSettings = field(
        default_factory=InterpreterSettings, metadata={"help": "The model's interpreter"}
    )


@dataclass(frozen=True)
class InstallSettings:
    """``cogflare install``."""

    dir: Path = field(metadata={"help": "folder with cog.yaml or predict.py", "positional": True})
    cache: Path | None = field(
        default=None, metadata={"help": "directory for the environment; default ~/.cache/cogflare"}
    )
    system_packages: bool = field(
        default=False,
        metadata={
            "help": "only print the system_packages of cog.yaml, one a line, which no --install installs"
        },
    )

    @property
    def interpreter(self) -> InterpreterSettings:
        return InterpreterSettings(install=True, cache=self.cache)


@dataclass(frozen=True)
class PredictSettings:
    """``cogflare predict``."""

    model: str = field(
        metadata={
            "help": "a model's folder, run here; or owner/name[:version], run by a server",
            "positional": True,
            "metavar": "DIR|MODEL",
        }
    )
    input: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "an input: KEY=@FILE for a file, KEY=@- for standard input, KEY=@@TEXT for text that "
            "begins with @",
            "short": "i",
            "metavar": "KEY=VALUE",
            "separator": "",
        },
    )
    output: Path = field(
        default=Path(),
        metadata={"help": "directory for output files, none of which overwrites another", "metavar": "DIR"},
    )
    json: bool = field(default=False, metadata={"help": "print one JSON document at the end"})
    server: str = field(default="", metadata={"help": "URL of the server that runs MODEL", "metavar": "URL"})
    token: str = field(default="", metadata={"help": "token of that server, with the scopes submit and read"})
    interpreter: InterpreterSettings = field(
        default_factory=InterpreterSettings, metadata={"help": "The interpreter of a model that is run here"}
    )


@dataclass(frozen=True)
class VersionSettings:
    """``cogflare version``."""

    json: bool = field(default=False, metadata={"help": "print JSON"})
