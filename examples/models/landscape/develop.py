"""From sketch to picture: the same scene at growing sizes, out of coloured noise, finished like a print."""

from collections.abc import Iterator

import noise
import numpy as np
from light import Hour
from PIL import Image, ImageFilter
from scene import compose, paint

COARSEST = 26.0
"""How many times smaller than the picture the first sketch is."""


def develop(seed: int, hour: Hour, size: tuple[int, int], steps: int) -> Iterator[Image.Image]:
    """``steps`` pictures of the full size, each more detailed than the one before; the last is finished."""
    width, height = size
    scene = compose(seed, hour, width / height)
    clouding = np.random.default_rng([seed, 1])
    for step in range(1, steps):
        part = (step - 1) / (steps - 1)
        shrink = COARSEST ** (1.0 - part)
        small = paint(scene, max(24, round(width / shrink)), max(24, round(height / shrink)))
        sketch = _picture(small).resize(size, Image.Resampling.BICUBIC)
        sketch = sketch.filter(ImageFilter.GaussianBlur(shrink * 0.35))
        yield _through_noise(sketch, clouding, 0.8 * (1.0 - part) ** 1.5 + 0.02)
    yield finish(paint(scene, width, height), seed)


def finish(canvas: np.ndarray, seed: int) -> Image.Image:
    """Bloom around what is bright, a darker edge, a gentle curve and the grain of film."""
    height, width = canvas.shape[:2]
    canvas = np.clip(canvas, 0.0, 1.0)
    bright = _picture(np.clip((canvas - 0.62) / 0.38, 0.0, 1.0) * canvas)
    bloom = np.asarray(bright.filter(ImageFilter.GaussianBlur(height / 45)), np.float32) / 255.0
    canvas = 1.0 - (1.0 - canvas) * (1.0 - 0.22 * bloom)
    canvas = canvas + 0.10 * (canvas - 0.5) * (1.0 - np.abs(2.0 * canvas - 1.0))
    across = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    down = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    canvas = canvas * (1.0 - 0.16 * np.clip((across**2 + down**2) / 2.0, 0.0, 1.0) ** 1.5)[:, :, None]
    rng = np.random.default_rng([seed, 2])
    grain = rng.standard_normal((height, width)).astype(np.float32)
    tone = 0.014 * (1.0 - 0.6 * np.abs(2.0 * canvas.mean(axis=2) - 1.0))
    return _picture(canvas + (grain * tone)[:, :, None])


def _through_noise(sketch: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    width, height = sketch.size
    canvas = np.asarray(sketch, np.float32) / 255.0
    veil = np.stack([noise.cloud(rng, width, height, (30, 19), 4, 0.8) for _ in range(3)], -1)
    mean = canvas.mean(axis=(0, 1))
    veiled = mean + 0.11 * veil
    return _picture(canvas * (1.0 - strength) + veiled * strength)


def _picture(canvas: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
