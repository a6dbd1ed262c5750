from cog import Input


class Predictor:
    def setup(self, weights: str = "none") -> None:
        self.weights = weights

    def run(self, text: str = Input(default="a")) -> str:
        return text
