"""``cogflare token create``: makes a token and hands over its secret, once."""

import json
import sys
from pathlib import Path
from typing import Any

from edge.exits import CommandFailed, ExitCode
from edge.settings import TokenCreateSettings

SETTINGS = TokenCreateSettings
ABOUT = (
    "Make a token. Its secret is shown once: on a terminal, with --json, or in the file of --output. "
    "Works through the running server, or on the files when none runs."
)


def run(settings: TokenCreateSettings) -> int:
    from edge.administration import carry_out
    from edge.control import CreateToken
    from edge.data_dir import DataDir

    _check_where_the_secret_goes(settings)
    data = DataDir(settings.data)
    scopes, pools = _rights(settings)
    order = CreateToken(
        name=settings.name,
        account=settings.account,
        scopes=scopes,
        pools=pools,
        models=settings.allow_model,
        expire_s=settings.expire_s,
        worker=settings.worker,
        share=settings.share,
        max_running=settings.max_running,
        creations_per_min=settings.creations_per_min,
        requests_per_min=settings.requests_per_min,
        retention_s=settings.retention_s,
        replicate=_provider_key(settings.replicate),
    )
    made: dict[str, Any] = carry_out(data, order, "token create")
    if settings.output is not None:
        _write(settings, made.pop("token"))
    if settings.json:
        print(json.dumps(made))
    else:
        _tell(made, settings)
    return ExitCode.DONE


def _check_where_the_secret_goes(settings: TokenCreateSettings) -> None:
    if settings.output is None and not settings.json and not sys.stdout.isatty():
        raise CommandFailed(
            "the secret would go to no terminal",
            ExitCode.USAGE,
            "say --json, or --output FILE for a 0600 file",
        )
    if settings.output is not None and settings.output.exists():
        raise CommandFailed(f"{settings.output} exists already", ExitCode.USAGE, "give a new file")
    if settings.output is not None and not settings.output.absolute().parent.is_dir():
        raise CommandFailed(f"--output: there is no folder {settings.output.parent}", ExitCode.USAGE)


def _rights(settings: TokenCreateSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if settings.worker is None:
        return settings.scope, settings.pool
    defaults = TokenCreateSettings(name="")
    if settings.scope not in (defaults.scope, ("worker",)):
        raise CommandFailed("--worker makes a token of scope worker: leave out --scope", ExitCode.USAGE)
    if settings.pool not in (defaults.pool, (settings.worker,)):
        raise CommandFailed("--worker names the token's pool: leave out --pool", ExitCode.USAGE)
    return ("worker",), (settings.worker,)


def _provider_key(given: str | None) -> str | None:
    """The key itself, or what the file holds. Raises CommandFailed; no message repeats a key."""
    if given is None:
        return None
    key = given
    if given.startswith("@"):
        try:
            key = Path(given[1:]).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise CommandFailed(
                f"--replicate: {given[1:]} cannot be read: {reason}", ExitCode.USAGE
            ) from None
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CommandFailed(
            "--replicate: that is no API key: it is empty or has blanks in it", ExitCode.USAGE
        )
    return key


def _write(settings: TokenCreateSettings, secret: str) -> None:
    from edge.data_dir import write_secret

    assert settings.output is not None  # the caller has checked
    try:
        write_secret(settings.output, secret.encode() + b"\n")
    except OSError as error:
        raise CommandFailed(
            f"the token was made, but {settings.output} cannot be written: {error.strerror}",
            ExitCode.STORAGE,
            f"revoke it with `cogflare token revoke {settings.name}` and make another",
        ) from error


def _tell(made: dict[str, Any], settings: TokenCreateSettings) -> None:
    rights = f"{', '.join(made['scopes'])} in {', '.join(made['pools'])}"
    print(f"token {made['name']} of account {made['account']} ({rights}), id {made['id']}")
    if settings.output is not None:
        print(f"its secret is in {settings.output}")
    else:
        print(f"its secret, shown this once:\n\n    {made['token']}\n")
