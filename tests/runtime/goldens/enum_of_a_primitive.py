import enum

from cog import BasePredictor, Input


class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Predictor(BasePredictor):
    def predict(self, colour: str = Input(default=Colour.RED, choices=list(Colour))) -> str:
        return colour
