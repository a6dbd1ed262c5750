"""Writes as the text that it was trained with does."""

from chain import PROVERBS, learn, load, tell
from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def setup(self) -> None:
        self.proverbs = learn(PROVERBS)

    def predict(
        self,
        words: int = Input(default=30, ge=1, le=1000, description="How many words to write"),
        seed: int = Input(default=1, ge=0, description="Same weights and seed, same words"),
        replicate_weights: Path | None = Input(
            default=None, description="What a training made; without it, it knows some proverbs"
        ),
    ) -> str:
        follows = self.proverbs if replicate_weights is None else load(replicate_weights.read_text())
        return tell(follows, words, seed)
