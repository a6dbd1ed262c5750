from cog import BasePredictor, Input


class Common:
    def predict(self, text: str, n: int = Input(default=1)) -> str:
        return text * n


class Middle(Common, BasePredictor):
    pass


class Predictor(Middle):
    pass
