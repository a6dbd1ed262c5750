from typing import Any, Dict, List, Mapping

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        free: dict,
        names: Dict[str, str],
        counts: Dict[int, List[int]],
        settings: Mapping[str, Any] = Input(default={"a": 1}),
    ) -> Dict[str, float]:
        return {}
