from cog import BasePredictor


class Predictor(BasePredictor):
    def setup(self) -> None:
        print("about to break")
        raise RuntimeError("no weights")

    def predict(self) -> str:
        return "never"
