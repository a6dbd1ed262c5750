from typing import List

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        images: List[Path],
        words: list[str] = Input(default=["a", "b"], max_length=3),
        numbers: list[int] = Input(default=[1], ge=0, le=9),
        flags: list[bool] = [True],  # noqa: B006
    ) -> List[Path]:
        return images
