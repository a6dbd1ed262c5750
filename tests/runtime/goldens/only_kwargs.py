from typing import Any


class Predictor:
    def predict(self, **kwargs: Any) -> str:
        return str(kwargs)
