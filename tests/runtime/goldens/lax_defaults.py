from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(self, steps: int = Input(default=50.0, ge=1), flag: bool = 0, scale: float = 2) -> str:
        return ""
