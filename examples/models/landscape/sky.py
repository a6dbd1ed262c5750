"""Everything above the land: the gradient, stars, northern lights, sun or moon, and clouds."""

import noise
import numpy as np
from view import View, ease, rgb


def paint_sky(view: View) -> np.ndarray:
    hour = view.hour
    up = np.clip((view.horizon - view.y) / view.horizon, 0.0, 1.0)
    stops = [stop for stop, _ in hour.sky]
    columns = [np.interp(up, stops, [colour[i] for _, colour in hour.sky]) for i in range(3)]
    canvas = np.repeat(np.stack(columns, -1)[:, None, :].astype(np.float32), view.width, axis=1)
    away = np.hypot(
        (view.x[None, :] - view.sun_x) * view.aspect, (view.y[:, None] - view.sun_y) * 1.15
    ).astype(np.float32)
    if hour.stars:
        _stars(view, canvas, up)
    if hour.aurora:
        _aurora(view, canvas)
    light = rgb(hour.light)
    # Wide and coloured by the air, then narrow and coloured by the source itview.
    air = light if hour.moon or hour.height > 0.5 else rgb(hour.sky[1][1])
    canvas += (air - canvas) * (0.60 * hour.glow * np.exp(-away * 3.4))[:, :, None]
    canvas += (1.0 - canvas) * light * (0.42 * hour.glow * np.exp(-away * 9.0))[:, :, None]
    if hour.disc:
        edge = 1.2 / view.height
        disc = ease(hour.disc + edge, hour.disc - edge, away)
        face = light + (1.0 - light) * (0.0 if hour.moon else 0.7)
        if hour.moon:
            seas = noise.cloud(view.rng("moon"), view.width, view.height, (36, 36), 3, 0.6)
            disc = disc * (1.0 - 0.13 * np.clip(seas, 0.0, 1.6))
        halo = np.exp(-np.maximum(away - hour.disc, 0.0) / (hour.disc * 0.9)) * 0.45 * hour.glow
        canvas += (1.0 - canvas) * (light * halo[:, :, None])
        canvas += (face - canvas) * disc[:, :, None]
    _clouds(view, canvas, away, up)
    return canvas


def _stars(view: View, canvas: np.ndarray, up: np.ndarray) -> None:
    rng = view.rng("stars")
    count = int(1400 * view.hour.stars)
    # A band across the sky holds more of them, and a faint shine of those too small to see.
    tilt = rng.uniform(-0.5, 0.5)
    at_x, at_y = rng.random(count), rng.random(count) * view.horizon
    band = 0.35 * view.horizon + tilt * (at_x - 0.5) + rng.normal(0.0, 0.07, count)
    at_y = np.where(rng.random(count) < 0.45, band, at_y)
    bright = rng.pareto(1.7, count) * 0.30 + 0.12
    warm = rng.random(count)
    if view.hour.stars > 0.5:
        line = (view.y[:, None] - 0.35 * view.horizon) - tilt * (view.x[None, :] - 0.5)
        dust = noise.cloud(view.rng("dust"), view.width, view.height, (6, 6), 5, 0.6)
        milk = np.exp(-((line / 0.11) ** 2)) * np.clip(0.55 + 0.35 * dust, 0.0, 1.4)
        strength = 0.16 if not view.hour.moon else 0.07
        canvas += (milk * strength)[:, :, None] * np.array([0.75, 0.8, 1.0], np.float32)
    size = max(0.6, view.height / 850.0)
    reach = int(size * 3) + 1
    for x, y, shine, tint in zip(at_x, at_y, bright, warm, strict=True):
        px, py = x * view.width, y * view.height
        column, row = int(px), int(py)
        if not (reach <= column < view.width - reach and reach <= row < view.waterline - reach):
            continue
        lift = ease(0.1, 0.5, np.float32(up[row])) * min(1.0, view.hour.stars)
        span = np.arange(-reach, reach + 1)
        dot = np.exp(
            -(
                ((span[:, None] + row + 0.5 - py) ** 2 + (span[None, :] + column + 0.5 - px) ** 2)
                / (size * size)
            )
        )
        colour = np.array([0.82 + 0.18 * tint, 0.9, 1.0 - 0.2 * tint], np.float32)
        patch = canvas[row - reach : row + reach + 1, column - reach : column + reach + 1]
        patch += (dot * min(float(shine), 1.1) * lift)[:, :, None].astype(np.float32) * colour


def _aurora(view: View, canvas: np.ndarray) -> None:
    rng = view.rng("aurora")
    for curtain in range(3):
        foot = 0.34 * view.horizon + 0.16 * curtain * view.horizon
        sway = noise.line(rng, view.x, 2, 4, 0.45, 0.0)
        foot_at = foot + 0.10 * sway + 0.12 * (view.x - 0.5) * (1 if curtain % 2 else -1)
        pleats = noise.line(rng, view.x + 0.02 * sway, 28, 4, 0.7, 0.0)
        strong = noise.line(rng, view.x, 3, 2, 0.5, 0.0)
        rise = (foot_at[None, :] - view.y[:, None]) / view.horizon
        length = 0.17 + 0.07 * pleats[None, :]
        body = np.where(rise > 0, np.exp(-rise / np.maximum(length, 0.05)), np.exp(rise / 0.018))
        shine = (
            body * np.clip(0.55 + 0.45 * strong + 0.32 * pleats, 0.0, 1.5)[None, :] * (0.62 - 0.12 * curtain)
        )
        low = np.array([0.16, 0.95, 0.55], np.float32)
        high = np.array([0.52, 0.28, 0.86], np.float32)
        part = ease(0.05, 0.5, rise)[:, :, None]
        canvas += (1.0 - np.clip(canvas, 0, 1)) * shine[:, :, None] * (low * (1 - part) + high * part)


def _clouds(view: View, canvas: np.ndarray, away: np.ndarray, up: np.ndarray) -> None:
    hour = view.hour
    rng = view.rng("clouds")
    body = noise.cloud(rng, view.width, view.height, (3, 11), 6, 0.56)
    cover = float(rng.uniform(0.15, 0.55))
    band = np.exp(-(((up - float(rng.uniform(0.35, 0.6))) / 0.32) ** 2))[:, None]
    thick = ease(cover, cover + 1.5, body + 0.5 * band) * hour.clouds
    # Lit where the cloud thins towards the light, shaded where it piles up.
    shift = max(1, view.height // 90)
    towards = shift if view.sun_y < 0.35 else -shift
    lit = np.clip((body - np.roll(body, towards, axis=0)) * 0.5 + 0.5, 0.0, 1.0)
    near = np.exp(-away * 2.4)
    bright = rgb(hour.cloud) + 0.35 * near[:, :, None] * rgb(hour.light)
    dark = 0.62 * rgb(hour.cloud) + 0.38 * canvas
    if hour.moon or hour.aurora:
        dark = 0.25 * rgb(hour.cloud) + 0.75 * canvas
        bright = 0.55 * bright + 0.45 * canvas
    if not (hour.moon or hour.aurora or hour.height > 0.5):
        dark = 0.55 * canvas + 0.45 * rgb(hour.sky[-2][1])
    colour = dark + (bright - dark) * lit[:, :, None]
    canvas += (colour - canvas) * (thick * 0.85)[:, :, None]
