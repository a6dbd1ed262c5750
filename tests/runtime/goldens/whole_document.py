from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(self, text: str, style: str = Input(default="a", choices=["a", "b"])) -> str:
        return text
