import enum
from typing import List, Optional

from cog import BasePredictor, Input


class Scheduler(enum.Enum):
    DDIM = "ddim"
    EULER = "euler"
    NONE = "none"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Predictor(BasePredictor):
    def predict(
        self,
        scheduler: Scheduler,
        size: Size = Size.LARGE,
        some: Optional[Scheduler] = None,
        several: List[Scheduler] = Input(default=[Scheduler.DDIM, Scheduler.EULER]),
        fewer: Scheduler = Input(default=Scheduler.DDIM, choices=[Scheduler.DDIM, Scheduler.EULER]),
    ) -> Scheduler:
        return scheduler
