from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        text: str = Input(description="what to say", default="a"),
        old_name: str = Input(description="use text", default="b", deprecated=True),
        current: str = Input(default="c", deprecated=False),
    ) -> str:
        return text
