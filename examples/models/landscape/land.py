"""Ridges behind ridges: rock and snow far away, forest close by, mist in the valleys."""

import noise
import numpy as np
from view import Composition, View, ease, rgb


def rise_at(view: Composition, number: int, x: np.ndarray) -> np.ndarray:
    """How high a ridge stands above the water at ``x``, as a part of the picture's height."""
    rng = view.rng(f"profile {number}")
    near = number / (view.ridges - 1)
    base = 0.29 * (1.0 - near) ** 1.25 + 0.018
    swing = (0.19 * (1.0 - near) ** 0.8 + 0.022) * view.tallness
    forest = near > 0.55
    shape = noise.line(
        rng, 0.5 + (x - 0.5) * view.span, 3 + number, 9, 0.42 if forest else 0.47, 0.05 if forest else 0.85
    )
    rise = base * view.tallness + swing * shape
    if near > 0.75:
        # The nearest land leaves the middle of the lake open.
        rise = rise * (0.35 + 1.1 * np.abs(x - 0.5 - 0.12 * view.frame_side) * 2) + 0.004
    return rise


def paint_ridge(view: View, canvas: np.ndarray, number: int) -> None:
    hour = view.hour
    rng = view.rng(f"ridge {number}")
    near = number / (view.ridges - 1)
    forest = near > 0.55
    rise = rise_at(view, number, view.x)
    if forest:
        rise = rise + _treeline(view, rng, near)
    top = (view.horizon - np.maximum(rise, 0.002)) * view.height
    rows = np.arange(view.waterline, dtype=np.float32)[:, None]
    inside = np.clip(rows - top[None, :] + 0.5, 0.0, 1.0)
    first = max(0, int(top.min()) - 1)
    rows, inside = rows[first:], inside[first:]
    target = canvas[first : view.waterline]

    haze, rock = rgb(hour.haze), rgb(hour.rock)
    part = near**0.85
    colour = np.broadcast_to(haze * (1 - part) * 0.93 + rock * part, target.shape).copy()
    # The air between takes on the light around the sun.
    around = np.exp(-np.abs(view.x - view.sun_x) * view.aspect * 2.2)[None, :, None]
    colour += around * (1 - part) * 0.30 * hour.glow * rgb(hour.light)

    if not forest:
        field = noise.cloud(rng, view.width, view.height, (round((14 + 4 * number) * view.span), 7), 6, 0.66)
        # Gullies run down and away from the peaks, so the crest's own jags must not show in them.
        crest = _smooth(top, max(3, view.width // 40))
        lean = np.gradient(_smooth(rise, max(3, view.width // 14)), 1.0 / view.width)
        fall = rows - crest[None, :]
        aside = np.arange(view.width)[None, :] + fall * 0.55 * np.tanh(lean * 2.5)[None, :]
        slope = field[
            np.clip(fall * 0.8 + 0.12 * view.height, 0, view.height - 1).astype(int),
            np.clip(aside, 0, view.width - 1).astype(int),
        ]
        reach = max(1, view.width // 320)
        beside = slope[:, np.maximum(np.arange(view.width) - reach, 0)]
        tilt = (slope - beside) * (1.0 if view.sun_x < 0.5 else -1.0)
        turned = np.tanh(lean * 1.5)[None, :] * (1.0 if view.sun_x < 0.5 else -1.0)
        lit = np.clip(0.75 * tilt - 0.35 * turned, -1.0, 1.0) * hour.relief * (0.35 + 0.65 * part)
        tall = (rows.max() - rows) / view.height
        line = 0.60 * float(rise.max()) + 0.02 * number + 0.03 * slope
        snow = ease(-0.012, 0.03, tall - line) * (1.0 - near) ** 0.5 * ease(0.0, 0.25, np.array(1.0 - near))
        white = rgb(hour.snow) * 0.92 + haze * 0.08
        strength = snow * np.clip(0.62 + 0.9 * lit, 0.1, 1.0)
        colour += (white - colour) * strength[:, :, None]
        colour *= 1.0 + 0.55 * np.minimum(lit, 0.0)[:, :, None]
        colour += 0.30 * np.maximum(lit, 0.0)[:, :, None] * rgb(hour.light)
    else:
        lush = noise.cloud(rng, view.width, view.height, (60, 60), 3, 0.7)[first : view.waterline]
        colour *= 1.0 + 0.10 * lush[:, :, None] * part

    # Mist lies in the valleys.
    lift = (view.waterline - rows) / view.height
    wisps = noise.cloud(view.rng(f"mist {number}"), view.width, view.height, (3, 9), 4, 0.5)
    depth = 0.035 + 0.075 * (1.0 - near)
    mist = hour.mist * np.exp(-lift / depth) * np.clip(0.85 + 0.35 * wisps[first : view.waterline], 0, 1.2)
    mist = np.clip(mist * (1.0 - 0.55 * part), 0.0, 0.96)
    shine = haze + around * 0.22 * hour.glow * rgb(hour.light)
    colour += (shine - colour) * mist[:, :, None]
    target += (colour - target) * inside[:, :, None]


def _treeline(view: View, rng: np.random.Generator, near: float) -> np.ndarray:
    """How far the tops of conifers stand out above the ground, along the picture."""
    count = int(420 - 240 * near)
    tall = 0.010 + 0.020 * near**2
    stand = np.zeros_like(view.x)
    clearing = noise.line(rng, view.x, 7, 3, 0.6, 0.0)
    places, heights = rng.random(count), rng.uniform(0.45, 1.15, count)
    for place, high in zip(places, heights, strict=True):
        wide = 0.23 * high * tall / view.aspect
        low, top = np.searchsorted(view.x, [place - wide, place + wide])
        if top > low:
            reach = 1.0 - np.abs(view.x[low:top] - place) / wide
            stand[low:top] = np.maximum(stand[low:top], high * tall * reach)
    return stand * np.clip(0.75 + 0.6 * clearing, 0.0, 1.0)


def _smooth(values: np.ndarray, span: int) -> np.ndarray:
    padded = np.pad(values, span, mode="edge")
    window = np.hanning(2 * span + 1).astype(np.float32)
    return np.convolve(padded, window / window.sum(), mode="valid")
