"""``cogflare worker quarantine``: gives a worker nothing but a prediction now and then."""

from edge.commands.worker_marks import mark
from edge.settings import WorkerMarkSettings

SETTINGS = WorkerMarkSettings
ABOUT = (
    "Put a worker into quarantine, as predictions that fail on it in a row would: it is tried with one "
    "prediction now and then, until one succeeds or it is released."
)


def run(settings: WorkerMarkSettings) -> int:
    return mark(settings, "quarantine")
