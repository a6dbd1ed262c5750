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
    from edge.administration import ordered
    from edge.control import RotateWebhookSecret

    order = RotateWebhookSecret(account=settings.account)
    rotated = ordered(settings.where, order, "account rotate-webhook-secret")
    if settings.json:
        print(json.dumps(rotated))
    else:
        print(rotated["key"])
    return ExitCode.DONE
