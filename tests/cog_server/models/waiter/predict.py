import os
import time

from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self, folder: str, name: str) -> str:
        """Says in a folder that it has begun, and ends when it is told to there."""
        print(f"{name} begins", flush=True)
        open(os.path.join(folder, f"{name}.begun"), "w").close()
        try:
            while not os.path.exists(os.path.join(folder, f"{name}.go")):
                time.sleep(0.005)
        finally:
            open(os.path.join(folder, f"{name}.left"), "w").close()
        return name
