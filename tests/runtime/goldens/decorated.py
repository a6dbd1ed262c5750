import functools

from cog import BasePredictor, Input


def traced(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def silent(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Predictor(BasePredictor):
    @silent
    @traced
    def predict(self, text: str, n: int = Input(default=2, ge=1)) -> str:
        return text * n
