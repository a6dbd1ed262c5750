from enum import Enum

from cog import BasePredictor, Input


class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"


class Predictor(BasePredictor):
    def predict(
        self,
        size: int = Input(default=512, choices=[256, 512]),
        mood: str = Input(choices={"calm": 1, "wild": 2}.keys()),
        colour: str = Input(default=Colour.RED, choices=list(Colour)),
        tags: list[str] = Input(default=["a"], choices=["a", "b"]),
    ) -> bool:
        return True
