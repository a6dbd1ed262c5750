from dataclasses import dataclass
from typing import Dict, List


@dataclass
class Word:
    text: str
    vector: List[List[float]]


class Predictor:
    def predict(self) -> Dict[str, Word]:
        return {}
