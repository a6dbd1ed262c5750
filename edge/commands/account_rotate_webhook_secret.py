"""``cogflare account rotate-webhook-secret``: gives an account another secret for its webhooks."""

import json

from edge.exits import ExitCode
from edge.settings import WebhookSecretSettings

SETTINGS = WebhookSecretSettings
ABOUT = (
    "Give an account another secret for its webhooks and print it. For a day webhooks carry a signature "
    "by the old one, too, so that receivers can be changed one after the other."
)


def run(settings: WebhookSecretSettings) -> int:
    from edge.administration import carry_out
    from edge.control import RotateWebhookSecret
    from edge.data_dir import DataDir

    order = RotateWebhookSecret(account=settings.account)
    rotated = carry_out(DataDir(settings.data), order, "account rotate-webhook-secret")
    if settings.json:
        print(json.dumps(rotated))
    else:
        print(rotated["key"])
    return ExitCode.DONE
