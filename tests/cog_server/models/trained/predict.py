import os
import tempfile

from cog import BaseModel, BasePredictor, Input, Path


class TrainingOutput(BaseModel):
    weights: Path


def train(steps: int = Input(default=1, ge=1), fail: bool = False) -> TrainingOutput:
    print(f"training {steps} steps")
    if fail:
        raise ValueError("diverged")
    path = Path(tempfile.mkdtemp()) / "weights.bin"
    path.write_bytes(b"w" * steps)
    return TrainingOutput(weights=path)


class Predictor(BasePredictor):
    def predict(self) -> int:
        return os.getpid()
