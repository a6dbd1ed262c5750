from typing import List, Optional

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        tags: Optional[List[str]] = None,
        images: Optional[List[Path]] = Input(description="any number of pictures"),
        steps: Optional[List[int]] = Input(default=[1, 2], ge=0, description="one for each"),
    ) -> int:
        return 0
