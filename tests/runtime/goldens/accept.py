from typing import List, Optional

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        image: Path = Input(accept="image/*", description="a picture"),
        sounds: List[Path] = Input(accept=[".wav", ".mp3"]),
        mask: Optional[Path] = Input(default=None, accept="image/png"),
    ) -> Path:
        return image
