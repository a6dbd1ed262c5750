from typing import FrozenSet, Set, Tuple

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        tags: Set[str],
        size: Tuple[int, int] = (512, 512),
        mixed: Tuple[str, int] = Input(default=("a", 1)),
        many: Tuple[float, ...] = (),
        frozen: FrozenSet[int] = frozenset({1}),
    ) -> Set[str]:
        return tags
