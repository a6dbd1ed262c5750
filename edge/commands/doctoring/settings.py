"""What can be set on ``cogflare doctor``: the options of server and agent, so that their environment does."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DoctorSettings:
    """``cogflare doctor``."""

    dir: Path | None = field(
        default=None,
        metadata={"help": "a server's data directory; the one of --data when not given", "positional": True},
    )
    data: Path | None = field(
        default=None,
        metadata={
            "help": "directory with all of the server's data; default ~/.local/share/cogflare if it is there"
        },
    )
    storage: str = field(
        default="", metadata={"help": "the server's --storage; a running server knows it", "metavar": "URL"}
    )
    server: str = field(
        default="",
        metadata={
            "help": "URL by which clients and agents reach the server; a running server knows its own",
            "metavar": "URL",
            "also": "COGFLARE_PUBLIC_URL",
        },
    )
    token: str = field(
        default="",
        metadata={"help": "token of that server; with an agent's the whole way of an agent is tried"},
    )
    models: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "a model that this machine serves, or its folder",
            "option": "model",
            "metavar": "[NAME=]DIR",
        },
    )
    state: Path | None = field(
        default=None, metadata={"help": "the agent's --state, where undelivered results are kept"}
    )
    python: Path | None = field(default=None, metadata={"help": "the models' Python interpreter"})
    json: bool = field(default=False, metadata={"help": "print JSON"})
