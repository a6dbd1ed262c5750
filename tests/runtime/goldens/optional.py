from typing import List, Optional

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        mask: Optional[Path],
        seed: Optional[int] = Input(default=None, ge=0),
        names: Optional[List[str]] = None,
        old_style: int = Input(default=None, description="None without Optional"),
        limit: Optional[float] = 2.0,
    ) -> Path:
        return Path("out.png")
