import os
import pathlib

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        image: Path,
        sample: Path = Input(default=Path("sample.png"), description="An example"),
        plain: pathlib.Path = "plain.txt",
        any_path: os.PathLike = None,  # noqa: RUF013
    ) -> pathlib.Path:
        return image
