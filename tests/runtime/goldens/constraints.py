from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        prompt: str = Input(description="What to draw", min_length=1, max_length=200, regex="^[a-z ]+$"),
        steps: int = Input(default=20, ge=1, le=100),
        old: str = Input(default="x", deprecated=True),
    ) -> int:
        return steps
