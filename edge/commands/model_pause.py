"""``cogflare model pause``: lets nothing of a model begin."""

import json

from edge.admin_settings import ModelPauseSettings
from edge.commands.queue_list import shown
from edge.exits import ExitCode

SETTINGS = ModelPauseSettings
ABOUT = (
    "Let nothing of a model begin until it is resumed, on no worker and at no provider. What is created "
    "waits, within its limit for waiting; what runs goes on. It outlives restarts of the server."
)


def run(settings: ModelPauseSettings) -> int:
    from edge.administration import ordered
    from edge.control import PauseModel

    order = PauseModel(model=settings.model, pool=settings.pool)
    queues = ordered(settings.where, order, "model pause")
    print(json.dumps(queues) if settings.json else shown(queues))
    return ExitCode.DONE
