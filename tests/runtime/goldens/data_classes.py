from dataclasses import dataclass, field
from typing import List, Optional

from cog import BasePredictor, Input, Path, Secret


@dataclass
class Point:
    x: float
    y: float = 0.5


@dataclass
class Box:
    corner: Point
    label: Optional[str]
    picture: Path
    token: Secret = Secret("hush")
    tags: List[str] = field(default_factory=list)


class Predictor(BasePredictor):
    def predict(self, box: Box, path: List[Point], start: Point = Input(default=Point(1.0))) -> Box:
        return box
