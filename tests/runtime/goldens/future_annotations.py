from __future__ import annotations

import functools

from cog import BasePredictor, ConcatenateIterator, Input


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Predictor(BasePredictor):
    @logged
    def predict(
        self,
        text: str = Input("positional default"),
        *,
        only_by_name: list[int] = [1],  # noqa: B006
    ) -> ConcatenateIterator[str]:
        yield text
