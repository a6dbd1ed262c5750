"""What an agent can be told, once, at its start. Each field is an option and an environment variable."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from coordinator.protocol.addresses import AddressRules, http_url
from coordinator.protocol.limits import UNUSED_ENVIRONMENT_S
from coordinator.protocol.names import valid_model_name, valid_version

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting that cannot be right; the text is one line for the operator."""


def _setting(default: T, what: str, **more: Any) -> T:
    value: T = field(default=default, metadata={"help": what, **more})
    return value


def _required(what: str, **more: Any) -> Any:
    return field(metadata={"help": what, **more})


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Settings of ``cogflare agent``. Call ``check`` once before use."""

    server: str = _required("URL of the server, as https://cogflare.example.org", metavar="URL")
    token: str = _required("worker token of that server")
    models: tuple[str, ...] = _required(
        "OWNER/NAME=DIR: serve the predictor in DIR under this name; with a URL instead of DIR, the running "
        "Cog server there",
        option="model",
        metavar="NAME=DIR",
    )
    cog_url: str = _setting(
        "", "URL of a running Cog server, as http://127.0.0.1:5000, for --model OWNER/NAME", metavar="URL"
    )
    cog_callback_url: str = _setting(
        "",
        "URL by which Cog servers reach this agent, as http://host.docker.internal:5100; it listens on that "
        "port. Default: a free port on 127.0.0.1",
        metavar="URL",
    )
    slots: int | None = _setting(
        None,
        "predictions at the same time on this machine; default the largest concurrency.max of its models",
    )
    no_trainings: bool = _setting(
        False, "take predictions only, also for models whose cog.yaml says what trains them"
    )
    retries: int | None = _setting(
        None,
        "how often a prediction may be repeated after a worker was lost or crashed; 0 for models that must "
        "never run twice; default the server's --max-attempts",
        minimum=0,
    )
    python: str = _setting(
        "", "interpreter that the predictors run in; default the agent's own", metavar="PATH"
    )
    install: bool = _setting(
        False, "run each model in an environment of what its cog.yaml lists, unless --python is given"
    )
    cache: Path | None = field(
        default=None, metadata={"help": "directory for what --install makes; default ~/.cache/cogflare"}
    )
    unused_environment_s: float = _setting(
        UNUSED_ENVIRONMENT_S,
        "time without use after which an environment that --install made is removed; 0 for never",
    )
    name: str = _setting("", "name of this machine in lists; default its host name")
    state: Path | None = field(
        default=None,
        metadata={"help": "directory for undelivered results; default ~/.local/state/cogflare/agent"},
    )
    version: str = _setting(
        "", "version id, 64 hex, to register instead of the hash of the sources", metavar="HEX"
    )
    otlp_endpoint: str = _setting(
        "",
        "collector that traces are sent to, OTLP over HTTP, as http://127.0.0.1:4318; needs cogflare[otel]",
        metavar="URL",
    )
    log_format: Literal["text", "json"] = _setting("text", "how the log on stderr is written, one line each")
    allow_private: tuple[str, ...] = _setting(
        (), "private network, as 10.0.0.0/8, that inputs may be fetched from", metavar="CIDR"
    )
    input_bytes: int = _setting(1024**3, "largest input file that is fetched")
    cog_answer_bytes: int = _setting(
        512 * 1024**2, "largest answer of a Cog server, with its output files in it; and largest of these"
    )
    input_s: float = _setting(300.0, "longest time that fetching one input file may take")
    upload_s: float = _setting(900.0, "time for which a failing upload is tried again")
    setup_timeout_s: float = _setting(1800.0, "longest time that a model's setup() may take")
    drain_s: float = _setting(600.0, "time that SIGTERM gives running predictions and undelivered results")

    @property
    def agent_name(self) -> str:
        return (self.name or socket.gethostname() or "agent")[:128]

    @property
    def base_url(self) -> str:
        """The server's URL without a slash at the end."""
        return self.server.rstrip("/")

    def model_dirs(self) -> dict[str, Path]:
        """Model name -> its folder, in the order given. Raises ``SettingsError``."""
        return {name: Path(place) for name, place in self._places().items() if "://" not in place}

    def cog_servers(self) -> dict[str, str]:
        """Model name -> the URL of its Cog server, without a slash at the end. Raises ``SettingsError``."""
        return {name: place.rstrip("/") for name, place in self._places().items() if "://" in place}

    def _places(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for text in self.models:
            name, equals, place = text.partition("=")
            if not equals and self.cog_url:
                place = self.cog_url
            if not place:
                raise SettingsError(
                    f"--model {text}: expected OWNER/NAME=DIR, OWNER/NAME=http://HOST:PORT of a Cog server, "
                    "or --cog-url beside it"
                )
            if not valid_model_name(name):
                raise SettingsError(f"--model {text}: {name!r} is not owner/name in lower case")
            if name in found:
                raise SettingsError(f"--model {name} is given twice")
            found[name] = place
        return found

    def check(self) -> None:
        """Raises ``SettingsError`` for the first setting that cannot be right."""
        if http_url(self.server) is None:
            raise SettingsError(f"--server {self.server!r}: expected http://HOST[:PORT] or https://HOST")
        if self.otlp_endpoint and http_url(self.otlp_endpoint) is None:
            raise SettingsError(
                f"--otlp-endpoint {self.otlp_endpoint!r}: expected a URL such as http://127.0.0.1:4318"
            )
        if not self.token:
            raise SettingsError(
                "--token is missing: make one with `cogflare token create NAME --worker POOL`"
            )
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise SettingsError("--token has characters that no token has")
        if not self._places():
            raise SettingsError("--model is missing: name at least one as OWNER/NAME=DIR")
        self._check_cog_servers()
        if self.slots is not None and self.slots < 1:
            raise SettingsError("--slots must be at least 1")
        if self.retries is not None and self.retries < 0:
            raise SettingsError("--retries must be 0 or more")
        try:
            AddressRules(self.allow_private)
        except ValueError as error:
            raise SettingsError(f"--allow-private: {error}") from None
        if not self.name.isprintable():
            raise SettingsError("--name has characters that cannot be shown")
        if self.version and not valid_version(self.version):
            raise SettingsError("--version must be 64 hexadecimal digits in lower case")
        if self.version and len(self.models) > 1:
            raise SettingsError("--version goes with a single --model")

    def _check_cog_servers(self) -> None:
        if self.cog_url:
            _check_url("--cog-url", self.cog_url)
        for name, url in self.cog_servers().items():
            _check_url(f"--model {name}", url)
        shared = sum("=" not in text for text in self.models)
        if self.cog_url and not shared:
            raise SettingsError("--cog-url goes with a --model OWNER/NAME that has no = in it")
        if shared > 1:
            raise SettingsError(
                "--cog-url goes with a single --model OWNER/NAME: write several as OWNER/NAME=http://HOST:PORT"
            )
        if self.cog_callback_url:
            _check_url("--cog-callback-url", self.cog_callback_url)
            parts = http_url(self.cog_callback_url)
            if parts is None or not parts.port or parts.scheme != "http":
                raise SettingsError(
                    f"--cog-callback-url {self.cog_callback_url!r}: expected http://HOST:PORT, the agent "
                    "listens on that port"
                )


def _check_url(option: str, url: str) -> None:
    """Raises ``SettingsError`` for what is not the URL of a server."""
    parts = http_url(url)
    if parts is None or parts.query or parts.fragment or parts.username or parts.password:
        raise SettingsError(f"{option} {url!r}: expected http://HOST[:PORT] or https://HOST[:PORT]")
