"""A landscape that develops before your eyes: every step is a file, the last one is the picture."""

import tempfile
import time
from collections.abc import Iterator

from cog import BasePredictor, Input, Path
from develop import develop
from light import HOURS

SIZES = {"640x400": (640, 400), "960x600": (960, 600), "1280x800": (1280, 800), "800x1000": (800, 1000)}


class Predictor(BasePredictor):
    def predict(
        self,
        hour: str = Input(
            default="sunset",
            choices=["dawn", "day", "sunset", "moonlight", "aurora"],
            description="Which light the landscape stands in",
        ),
        seed: int = Input(default=7, ge=0, le=2**31 - 1, description="Same seed, same landscape"),
        size: str = Input(
            default="1280x800",
            choices=["640x400", "960x600", "1280x800", "800x1000"],
            description="Width x height in pixels",
        ),
        steps: int = Input(
            default=8, ge=1, le=12, description="Pictures from first sketch to finished print"
        ),
    ) -> Iterator[Path]:
        started = time.monotonic()
        folder = Path(tempfile.mkdtemp())
        print(f"{hour}, seed {seed}, {size}")
        for step, picture in enumerate(develop(seed, HOURS[hour], SIZES[size], steps), 1):
            # Sketches are soft and go out as small JPEGs; the print keeps every pixel.
            if step < steps:
                path = folder / f"step-{step:02d}.jpg"
                picture.save(path, quality=85)
            else:
                path = folder / "landscape.png"
                picture.save(path)
            # The form that Replicate's clients read as progress.
            done = 20 * step // steps
            bar = "#" * done + " " * (20 - done)
            print(f"{100 * step // steps}%|{bar}| {step}/{steps} {time.monotonic() - started:.1f} s")
            yield Path(path)
