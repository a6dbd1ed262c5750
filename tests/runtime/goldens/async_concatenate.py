from cog import AsyncConcatenateIterator, BasePredictor


class Predictor(BasePredictor):
    async def setup(self) -> None:
        pass

    async def predict(self, prompt: str) -> AsyncConcatenateIterator[str]:
        yield prompt
