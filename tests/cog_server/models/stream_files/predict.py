import tempfile
from collections.abc import Iterator

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, count: int = 3) -> Iterator[Path]:
        for number in range(count):
            path = Path(tempfile.mkdtemp()) / "out.txt"
            path.write_text(f"file {number}")
            yield path
