"""Makes weights of as many bytes as it is told."""

import tempfile
import time

from cog import BaseModel, Input, Path


class TrainingOutput(BaseModel):
    weights: Path


def train(
    steps: int = Input(description="how many bytes", default=1, ge=1),
    seconds: float = Input(description="how long to take", default=0.0, ge=0),
    fail: bool = Input(description="whether to fail", default=False),
) -> TrainingOutput:
    print(f"training {steps} steps")
    time.sleep(seconds)
    if fail:
        raise ValueError("diverged")
    weights = Path(tempfile.mkdtemp()) / "weights.bin"
    weights.write_bytes(b"w" * steps)
    return TrainingOutput(weights=weights)
