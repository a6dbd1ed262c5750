"""Runs for as long as a test wants, and leaves a trace of every run."""

import os
import time

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        name: str = Input(description="which prediction of the test this is"),
        folder: str = Input(description="where to leave a trace, and to look for the word to go on"),
        wait: bool = Input(description="whether to wait for <name>.go", default=False),
    ) -> str:
        with open(os.path.join(folder, name + ".runs"), "a") as trace:
            trace.write(f"{os.getpid()}\n")
        print(f"running {name}")
        while wait and not os.path.exists(os.path.join(folder, name + ".go")):
            time.sleep(0.01)
        return f"done {name}"
