"""Where the server is that a command administers."""

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_DATA = Path("~/.local/share/cogflare")
"""In the user's home, not in the working directory: ``cogflare token`` must find what ``cogflare serve``
made, wherever either is started."""
DATA = {"help": "directory with all of the server's data"}


@dataclass(frozen=True)
class Where:
    """Which server a command administers: through its data directory, or over HTTP. The variables are not
    those of ``predict`` and ``agent``, whose tokens are others."""

    data: Path = field(default=DEFAULT_DATA, metadata=DATA)
    server: str = field(
        default="",
        metadata={
            "help": "URL of the server, instead of --data, from wherever it can be reached",
            "metavar": "URL",
            "variable": "ADMIN_SERVER",
        },
    )
    token: str = field(
        default="",
        metadata={
            "help": "token of scope admin for --server, or @FILE that has it",
            "variable": "ADMIN_TOKEN",
        },
    )


WHERE = {"help": "The server"}
