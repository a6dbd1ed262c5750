"""Learns to write as a text does."""

import tempfile

from chain import learn, save
from cog import BaseModel, Input, Path


class TrainingOutput(BaseModel):
    weights: Path


def train(text: Path = Input(description="A text of some length, in UTF-8")) -> TrainingOutput:
    follows = learn(text.read_text())
    print(f"learned {len(follows)} words")
    weights = Path(tempfile.mkdtemp()) / "weights.json"
    weights.write_text(save(follows))
    return TrainingOutput(weights=weights)
