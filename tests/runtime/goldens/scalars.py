from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        text: str,
        count: int = 3,
        scale: float = Input(default=1, ge=0, le=2.5, description="How large"),
        i_wd: bool = False,
    ) -> str:
        return text * count
