"""A story, told word by word."""

import time

from cog import BasePredictor, ConcatenateIterator, Input
from tale import tell

PAUSE_S = {"instant": 0.0, "brisk": 0.03, "calm": 0.12}


class Predictor(BasePredictor):
    def predict(
        self,
        prompt: str = Input(
            default="the sea at night",
            min_length=1,
            max_length=100,
            description="What the story should be about",
        ),
        words: int = Input(default=120, ge=80, le=1000, description="The most words it may have"),
        seed: int = Input(default=1, ge=0, description="Same prompt and seed, same story"),
        pace: str = Input(
            default="brisk", choices=["instant", "brisk", "calm"], description="The pause between words"
        ),
    ) -> ConcatenateIterator[str]:
        told = 0
        for sentence in tell(prompt, words, seed):
            for word in sentence.split():
                yield word if told == 0 else " " + word
                told += 1
                time.sleep(PAUSE_S[pace])
        print(f"{told} words")
