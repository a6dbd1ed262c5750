from typing import Literal, Optional

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        mode: Literal["fast", "good"] = Input(default="fast", description="Speed or quality"),
        level: Optional[Literal[1, 2, 3]] = None,
    ) -> float:
        return 0.5
