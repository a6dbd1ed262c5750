from typing import NamedTuple

from cog import BasePredictor


class Span(NamedTuple):
    start: int
    end: int = 10


class Predictor(BasePredictor):
    def predict(self, span: Span) -> Span:
        return span
