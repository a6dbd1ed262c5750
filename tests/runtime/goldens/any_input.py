from typing import Any, Optional

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        first: Any,
        second: Optional[Any] = None,
        third: Any = Input(default={"a": [1]}, description="it"),
    ) -> Any:
        return first
