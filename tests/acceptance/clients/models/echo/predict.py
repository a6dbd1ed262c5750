"""Gives back what it is given, when and how a client's case wants it."""

import time

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        text: str = Input(description="what to say", default="", max_length=100),
        file: Path | None = Input(description="a file to read aloud", default=None),
        seconds: float = Input(description="how long to think", default=0.0, ge=0),
        fail: bool = Input(description="whether to fail", default=False),
        replicate_weights: Path | None = Input(description="what a training made", default=None),
    ) -> str:
        print(f"thinking for {seconds:g} s")
        time.sleep(seconds)
        if fail:
            raise ValueError(f"failed as told: {text}")
        if replicate_weights is not None:
            text += replicate_weights.read_text()
        return text if file is None else file.read_text()
