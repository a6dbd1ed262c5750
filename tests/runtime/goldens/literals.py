from typing import List, Literal, Optional

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        mixed: Literal["auto", 1, 2],
        maybe: Literal["a", "b", None] = None,
        some: List[Literal["x", "y"]] = Input(default=["x"]),
        size: Optional[Literal[256, 512]] = 512,
        flag: Literal[True, False] = True,
    ) -> Literal["yes", "no"]:
        return "yes"
