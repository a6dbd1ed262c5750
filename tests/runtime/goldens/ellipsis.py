from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self, text: str = Input(..., description="required, as pydantic writes it"), n: int = Input(3)
    ) -> str:
        return text * n
