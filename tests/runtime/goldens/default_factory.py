from typing import Dict, List

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        words: List[str] = Input(default_factory=list, description="none by default"),
        weights: Dict[str, float] = Input(default_factory=dict),
        seed: int = Input(default_factory=lambda: 4, ge=0),
    ) -> int:
        return seed
