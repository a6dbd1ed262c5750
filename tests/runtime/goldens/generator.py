import typing

from cog import BasePredictor


class Predictor(BasePredictor):
    async def predict(self) -> typing.AsyncGenerator[list[int], None]:
        yield [1]
