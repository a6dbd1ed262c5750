from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(self, text: str, size: int = Input(default=1, choices=[1, 2])) -> str:
        return text * size
