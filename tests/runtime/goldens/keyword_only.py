from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(self, text: str, *, upper: bool = False, n: int = Input(default=1, le=3)) -> str:
        return text * n
