"""``cogflare token list``: every token's record, without its secret."""

import json
from typing import Any

from edge.exits import ExitCode
from edge.settings import TokenListSettings
from edge.tables import table

SETTINGS = TokenListSettings
ABOUT = "List the tokens, revoked ones too. Secrets are stored hashed and cannot be shown."
COLUMNS = ("name", "account", "scopes", "pools", "starts with", "made", "last used", "state", "id")


def run(settings: TokenListSettings) -> int:
    from edge.administration import ordered
    from edge.control import ListTokens

    found: list[dict[str, Any]] = ordered(settings.where, ListTokens(account=settings.account), "token list")
    if settings.json:
        print(json.dumps(found))
    else:
        print(table([COLUMNS, *map(_row, found)]))
    return ExitCode.DONE


def _row(token: dict[str, Any]) -> tuple[str, ...]:
    state = "live"
    if token["revoked_at"]:
        state = f"revoked {token['revoked_at'][:10]}"
    elif not token["allow"]:
        state = "locked out"
    elif token["expires_at"]:
        state = f"until {token['expires_at'][:16]}Z"
    return (
        token["name"],
        token["account"],
        ",".join(token["scopes"]),
        ",".join(token["pools"]),
        token["prefix"],
        token["created_at"][:10],
        f"{token['last_used_at'][:16]}Z" if token["last_used_at"] else "never",
        state,
        token["id"],
    )
