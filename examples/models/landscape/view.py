"""What every part of a landscape needs to know: its composition, and the canvas it is painted for."""

import zlib
from dataclasses import dataclass, field

import numpy as np
from light import Hour


@dataclass(frozen=True)
class Composition:
    """Where things stand. Positions are parts of the picture's width (x) and height (y, from the top)."""

    seed: int
    hour: Hour
    horizon: float
    sun_x: float
    sun_y: float
    ridges: int
    frame_side: float
    """-1 when the near pines stand on the left, 1 on the right."""
    tallness: float
    span: float
    """How much of the land there is, from left to right: all of it (1), or less in an upright picture."""

    def rng(self, part: str) -> np.random.Generator:
        """Seeded for one part, so that it looks the same whatever was drawn before it."""
        return np.random.default_rng([self.seed, zlib.crc32(part.encode())])


@dataclass(frozen=True)
class View(Composition):
    """A composition at one size in pixels."""

    width: int
    height: int
    x: np.ndarray = field(init=False)
    y: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", (np.arange(self.width, dtype=np.float32) + 0.5) / self.width)
        object.__setattr__(self, "y", (np.arange(self.height, dtype=np.float32) + 0.5) / self.height)

    @property
    def waterline(self) -> int:
        return round(self.horizon * self.height)

    @property
    def aspect(self) -> float:
        return self.width / self.height


def ease(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, eased between; swapped ends turn it round."""
    part = np.clip((value - low) / (high - low), 0.0, 1.0)
    return part * part * (3.0 - 2.0 * part)


def rgb(value: tuple[float, float, float]) -> np.ndarray:
    return np.array(value, np.float32)
