from collections.abc import Iterator

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self) -> Iterator[Path]:
        yield Path("a.png")
