"""``cogflare token revoke``: ends a token for good."""

import json

from edge.exits import ExitCode
from edge.settings import TokenRevokeSettings

SETTINGS = TokenRevokeSettings
ABOUT = "End a token for good. Requests, streams and agents that use it are cut off within a second."


def run(settings: TokenRevokeSettings) -> int:
    from edge.administration import ordered
    from edge.control import RevokeToken

    order = RevokeToken(token=settings.which, account=settings.account)
    ended = ordered(settings.where, order, "token revoke")
    if settings.json:
        print(json.dumps(ended))
    else:
        print(f"token {ended['name']} of account {ended['account']} is revoked ({ended['id']})")
    return ExitCode.DONE
