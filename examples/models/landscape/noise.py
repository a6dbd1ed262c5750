"""Random fields that look the same at every resolution, so that a sketch and the finished picture agree.

Each octave is a small lattice of random numbers drawn in a fixed order; only its enlargement depends on the
size of the picture.
"""

import numpy as np
from PIL import Image


def spread(lattice: np.ndarray, width: int, height: int) -> np.ndarray:
    """The lattice, smoothly enlarged to ``height`` x ``width``."""
    image = Image.fromarray(lattice.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)


def cloud(rng: np.random.Generator, width: int, height: int, cells: tuple, octaves: int, fade: float = 0.5):
    """Fractal noise around 0 with a spread near 1. ``cells`` is the coarsest lattice as (across, down).

    Draws the same numbers whatever the picture's size; lattices finer than the picture are left out.
    """
    across, down = cells
    total = np.zeros((height, width), np.float32)
    weight, energy = 1.0, 0.0
    for _ in range(octaves):
        lattice = rng.standard_normal((down + 2, across + 2))
        energy += weight * weight
        if across <= 2 * width and down <= 2 * height:
            total += weight * spread(lattice, width, height)
        weight *= fade
        across, down = across * 2, down * 2
    return total / np.float32(energy**0.5 * 0.75)


def line(rng: np.random.Generator, at: np.ndarray, cells: int, octaves: int, fade: float, sharp: float):
    """A jagged profile in about -1..1 at the positions ``at`` (0..1). ``sharp`` bends waves into peaks."""
    total = np.zeros_like(at)
    weight, energy = 1.0, 0.0
    for octave in range(octaves):
        knots = rng.uniform(-1.0, 1.0, cells + 3)
        place = at * cells + rng.uniform(0.0, 1.0)
        index = np.floor(place).astype(int)
        part = (place - index).astype(np.float32)
        # Straight between the knots where it should be rocky, eased where it should roll.
        eased = part * part * (3.0 - 2.0 * part)
        part = sharp * part + (1.0 - sharp) * eased
        wave = knots[index % knots.size] * (1.0 - part) + knots[(index + 1) % knots.size] * part
        if octave < 3 and sharp > 0.0:
            wave = (1.0 - sharp) * wave + sharp * (1.0 - 2.0 * np.abs(wave))
        total += weight * wave
        energy += weight
        weight *= fade
        cells *= 2
    return (total / energy * 1.6).astype(np.float32)
