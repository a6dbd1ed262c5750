"""``cogflare worker release``: ends a worker's quarantine or distrust."""

from edge.commands.worker_marks import mark
from edge.settings import WorkerMarkSettings

SETTINGS = WorkerMarkSettings
ABOUT = "End a worker's quarantine or distrust: it gets work again at once, as if nothing had been."


def run(settings: WorkerMarkSettings) -> int:
    return mark(settings, "release")
