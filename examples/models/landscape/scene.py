"""One landscape at any size, painted from the back to the front on a canvas of floating-point colours."""

import zlib
from dataclasses import replace

import numpy as np
from land import paint_ridge, rise_at
from light import Hour
from shore import paint_shore
from sky import paint_sky
from view import Composition, View
from water import paint_lake


def compose(seed: int, hour: Hour, aspect: float) -> Composition:
    """Decide where everything stands. ``aspect`` is the picture's width by its height."""
    rng = np.random.default_rng([seed, zlib.crc32(b"composition")])
    horizon = float(rng.uniform(0.66, 0.74))
    side = 1.0 if rng.random() < 0.5 else -1.0
    composition = Composition(
        seed=seed,
        hour=hour,
        horizon=horizon,
        sun_x=0.5,
        sun_y=horizon * (1.0 - hour.height * float(rng.uniform(0.9, 1.1))),
        ridges=int(rng.integers(5, 8)),
        frame_side=-side,
        tallness=float(rng.uniform(0.85, 1.2)),
        span=min(1.0, aspect / 1.4),
    )
    # The sun stands where the skyline is low; when it is rising or setting, just above the mountains.
    places = 0.5 + side * np.linspace(0.06, 0.30, 60, dtype=np.float32)
    skyline = np.max([rise_at(composition, number, places) for number in range(composition.ridges)], axis=0)
    gap = int(np.argmin(skyline))
    sun_y = composition.sun_y
    if hour.height < 0.5 and hour.disc:
        sun_y = horizon - float(skyline[gap]) - hour.disc * 0.95
    return replace(composition, sun_x=float(places[gap]), sun_y=sun_y)


def paint(composition: Composition, width: int, height: int) -> np.ndarray:
    """The picture as ``height`` x ``width`` x 3 floats, nominally 0 to 1."""
    view = View(**vars(composition), width=width, height=height)
    canvas = paint_sky(view)
    for number in range(view.ridges):
        paint_ridge(view, canvas, number)
    paint_lake(view, canvas)
    paint_shore(view, canvas)
    return canvas
