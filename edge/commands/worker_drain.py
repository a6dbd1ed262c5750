"""``cogflare worker drain``: gives a worker nothing new."""

from edge.commands.worker_marks import mark
from edge.settings import WorkerMarkSettings

SETTINGS = WorkerMarkSettings
ABOUT = (
    "Give a worker nothing new. What it runs ends as usual, and it stays connected, also "
    "over restarts, until it is resumed."
)


def run(settings: WorkerMarkSettings) -> int:
    return mark(settings, "drain")
