"""The lake: what stands above it, upside down, broken by waves."""

import noise
import numpy as np
from view import View, ease, rgb


def paint_lake(view: View, canvas: np.ndarray) -> None:
    hour = view.hour
    depth = view.height - view.waterline
    if depth < 2:
        return
    rng = view.rng("lake")
    down = (np.arange(depth, dtype=np.float32) + 0.5)[:, None]
    far = down / depth
    # Waves look shorter and closer together towards the far shore.
    ripples = noise.cloud(rng, view.width, depth, (10, 60), 4, 0.7)
    swell = noise.cloud(rng, view.width, depth, (4, 14), 3, 0.5)
    rows = np.clip(((far**0.55) * (depth - 1)), 0, depth - 1).astype(int)
    ripples = np.take_along_axis(ripples, np.broadcast_to(rows, ripples.shape), axis=0)
    sway = (ripples * (0.002 + 0.020 * far) + swell * 0.008 * far) * view.height
    source = np.clip(view.waterline - 1 - down * 1.04 + sway, 0, view.waterline - 1).astype(int)
    aside = np.clip(
        np.arange(view.width)[None, :] + ripples * (0.0008 + 0.004 * far) * view.height, 0, view.width - 1
    ).astype(int)
    mirror = canvas[source, aside]
    deep = rgb(hour.sky[-1][1]) * 0.75 + rgb(hour.rock) * 0.15
    mirror = mirror + (deep - mirror) * (0.10 + 0.42 * far**1.4)[:, :, None]
    # A quiet line of light where the wind touches the water.
    breeze = ease(1.1, 2.4, swell) * (1.0 - far) * 0.25
    mirror += (rgb(hour.haze) - mirror) * breeze[:, :, None]
    # The sun's path: brighter where a wave tilts towards us.
    wide = 0.03 + 0.10 * far
    path = np.exp(-(((view.x[None, :] - view.sun_x) * view.aspect / wide) ** 2))
    spark = ease(0.55, 1.9, ripples + 0.35 * path) * path * hour.glow * (0.9 if hour.disc else 0.25)
    mirror += (1.0 - np.clip(mirror, 0, 1)) * spark[:, :, None] * rgb(hour.light)
    canvas[view.waterline :] = mirror
    seam = max(1, view.height // 300)
    glint = canvas[view.waterline : view.waterline + seam]
    glint += (rgb(hour.haze) - glint) * 0.35
