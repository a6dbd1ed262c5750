from typing import Any, AsyncIterator, Dict, List

from cog import BasePredictor


class Predictor(BasePredictor):
    async def predict(self, n: int = 3) -> AsyncIterator[Dict[str, List[Any]]]:
        for i in range(n):
            yield {"i": [i]}
