"""A picture in, the same picture in another style out."""

import tempfile
import time

from cog import BasePredictor, Input, Path
from PIL import Image, ImageOps, UnidentifiedImageError
from styles import STYLES

LARGEST = 1600
"""Longer edge of what is drawn, in pixels; larger pictures are reduced first."""


class Predictor(BasePredictor):
    def predict(
        self,
        image: Path = Input(description="Any picture that Pillow reads: PNG, JPEG, WebP, …"),
        style: str = Input(
            default="halftone",
            choices=["duotone", "halftone", "pixel", "ink", "poster"],
            description="How it is redrawn",
        ),
        strength: float = Input(
            default=1.0, ge=0.0, le=1.0, description="0 keeps the picture, 1 is all style"
        ),
    ) -> Path:
        started = time.monotonic()
        try:
            with Image.open(image) as opened:
                picture = ImageOps.exif_transpose(opened)
                picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
                picture = picture.convert("RGB")
        except UnidentifiedImageError:
            raise ValueError("image: this file is not a picture that can be read") from None
        except Image.DecompressionBombError:
            raise ValueError("image: this picture has too many pixels") from None
        restyled = Image.blend(picture, STYLES[style](picture), strength)
        path = Path(tempfile.mkdtemp()) / f"{style}.png"
        restyled.save(path)
        print(f"{style}, {picture.width}x{picture.height}, {time.monotonic() - started:.1f} s")
        return path
