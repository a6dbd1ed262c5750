"""``cogflare worker resume``: gives a drained worker work again."""

from edge.commands.worker_marks import mark
from edge.settings import WorkerMarkSettings

SETTINGS = WorkerMarkSettings
ABOUT = "Give a drained worker work again."


def run(settings: WorkerMarkSettings) -> int:
    return mark(settings, "resume")
