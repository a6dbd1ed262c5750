from typing import Optional

from cog import BasePredictor, Input, Secret


class Predictor(BasePredictor):
    def predict(
        self,
        token: Secret,
        fallback: Secret = Input(default="hunter2", description="Not to be shown"),
        extra: Optional[Secret] = None,
        several: list[Secret] = Input(default=["a", "b"]),
    ) -> Secret:
        return token
