from typing import Any, Dict, List, Optional

from cog import BaseModel, BasePredictor, Path


class Box(BaseModel):
    left_edge: int
    score: float


class Output(BaseModel):
    picture: Path
    boxes: List[Box]
    extra: Dict[str, Any]
    note: Optional[str] = None


class Predictor(BasePredictor):
    def predict(self) -> Output:
        return Output(picture=Path("a.png"), boxes=[], extra={})
