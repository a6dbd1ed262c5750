import os
import time
from collections.abc import Iterator

from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self, count: int = 3, folder: str = "", fail: bool = False) -> Iterator[str]:
        """With a folder, each item after the first waits for a file of its number there."""
        for number in range(count):
            while folder and number and not os.path.exists(os.path.join(folder, str(number))):
                time.sleep(0.005)
            print(f"item {number}", flush=True)
            yield f"<{number}>"
        if fail:
            raise ValueError("midway")
