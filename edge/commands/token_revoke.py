"""``cogflare token revoke``: ends a token for good."""

import json

from edge.exits import ExitCode
from edge.settings import TokenRevokeSettings

SETTINGS = TokenRevokeSettings
ABOUT = "End a token for good. Requests, streams and agents that use it are cut off within a second."


def run(settings: TokenRevokeSettings) -> int:
    from edge.administration import carry_out
    from edge.control import RevokeToken
    from edge.data_dir import DataDir

    order = RevokeToken(token=settings.token, account=settings.account)
    ended = carry_out(DataDir(settings.data), order, "token revoke")
    if settings.json:
        print(json.dumps(ended))
    else:
        print(f"token {ended['name']} of account {ended['account']} is revoked ({ended['id']})")
    return ExitCode.DONE
