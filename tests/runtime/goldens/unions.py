from typing import List, Union

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        count: Union[int, str] = Input(description="a number, or its name"),
        words: Union[str, List[str]] = "one",
        maybe: Union[int, float, None] = None,
        picture: Union[Path, List[Path]] = Input(default=None),
    ) -> Union[int, str]:
        return 1
