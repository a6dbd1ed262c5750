"""``cogflare model resume``: lets a paused model's predictions begin again."""

import json

from edge.admin_settings import ModelPauseSettings
from edge.commands.queue_list import shown
from edge.exits import ExitCode

SETTINGS = ModelPauseSettings
ABOUT = "Let a paused model's predictions begin again."


def run(settings: ModelPauseSettings) -> int:
    from edge.administration import ordered
    from edge.control import ResumeModel

    order = ResumeModel(model=settings.model, pool=settings.pool)
    queues = ordered(settings.where, order, "model resume")
    print(json.dumps(queues) if settings.json else shown(queues))
    return ExitCode.DONE
