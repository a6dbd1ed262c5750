"""How the commands that make a secret hand it over: on a terminal, as JSON, or in a new 0600 file."""

import sys
from pathlib import Path

from edge.exits import CommandFailed, ExitCode


def check_place(output: Path | None, *, json: bool) -> None:
    """Before anything is made. Raises CommandFailed."""
    if output is None and not json and not sys.stdout.isatty():
        raise CommandFailed(
            "the secret would go to no terminal",
            ExitCode.USAGE,
            "say --json, or --output FILE for a 0600 file",
        )
    if output is not None and output.exists():
        raise CommandFailed(f"{output} exists already", ExitCode.USAGE, "give a new file")
    if output is not None and not output.absolute().parent.is_dir():
        raise CommandFailed(f"--output: there is no folder {output.parent}", ExitCode.USAGE)


def write(output: Path, secret: str, name: str) -> None:
    """Raises CommandFailed; then nobody has the secret."""
    from edge.data_dir import write_secret

    try:
        write_secret(output, secret.encode() + b"\n")
    except OSError as error:
        raise CommandFailed(
            f"the secret was made, but {output} cannot be written: {error.strerror}",
            ExitCode.STORAGE,
            f"revoke the token with `cogflare token revoke {name}` and make another",
        ) from error


def told(secret: str | None, output: Path | None) -> str:
    if output is not None:
        return f"its secret is in {output}"
    return f"its secret, shown this once:\n\n    {secret}\n"
