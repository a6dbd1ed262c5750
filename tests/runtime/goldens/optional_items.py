from typing import Iterator, Optional

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, n: int = 3) -> Iterator[Optional[Path]]:
        yield None
