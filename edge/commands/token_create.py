"""``cogflare token create``: makes a token and hands over its secret, once."""

import json
from pathlib import Path
from typing import Any

from edge.commands.secrets import check_place, told, write
from edge.daily_settings import given
from edge.exits import CommandFailed, ExitCode
from edge.settings import TokenCreateSettings

SETTINGS = TokenCreateSettings
ABOUT = (
    "Make a token. Its secret is shown once: on a terminal, with --json, or in the file of --output. "
    "Works through the running server, on the files when none runs, or with --server."
)


def run(settings: TokenCreateSettings) -> int:
    from edge.administration import ordered
    from edge.control import CreateToken

    check_place(settings.output, json=settings.json)
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
        **given(settings.daily),
    )
    made: dict[str, Any] = ordered(settings.where, order, "token create")
    if settings.output is not None:
        write(settings.output, made.pop("token"), settings.name)
    if settings.json:
        print(json.dumps(made))
    else:
        _tell(made, settings)
    return ExitCode.DONE


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


def _tell(made: dict[str, Any], settings: TokenCreateSettings) -> None:
    rights = f"{', '.join(made['scopes'])} in {', '.join(made['pools'])}"
    print(f"token {made['name']} of account {made['account']} ({rights}), id {made['id']}")
    print(told(made.get("token"), settings.output))
