"""Dark pines, grass and the bank on the near side, as the frame of the picture."""

import noise
import numpy as np
from PIL import Image, ImageDraw
from view import View, ease, rgb


def paint_shore(view: View, canvas: np.ndarray) -> None:
    """Dark pines close to the viewer frame one side, with a strip of bank and grass along the bottom."""
    rng = view.rng("shore")
    scale = 3
    width, height = view.width * scale, view.height * scale
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    side = view.frame_side
    from_side = view.x if side < 0 else 1.0 - view.x
    bank = 0.055 * np.exp(-from_side / 0.22) + 0.010 * noise.line(rng, view.x, 9, 6, 0.55, 0.0) + 0.004
    bank = np.maximum(bank + 0.028 * np.exp(-(1.0 - from_side) / 0.12), 0.0)
    outline = [(0, height)]
    outline += [((i + 0.5) * scale, (1.0 - bank[i]) * height) for i in range(view.width)]
    draw.polygon([*outline, (width, height)], fill=255)
    places = np.sort(rng.uniform(0.0, 0.24, 7))
    for place in places:
        high = float(rng.uniform(0.22, 0.60)) * (1.0 - 1.6 * place)
        at = place if side < 0 else 1.0 - place
        ground = 1.0 - float(np.interp(at, view.x, bank)) + 0.01
        _pine(draw, rng, at * width, ground * height, high * height)
    for place in 1.0 - rng.uniform(0.0, 0.10, 3):
        at = place if side < 0 else 1.0 - place
        ground = 1.0 - float(np.interp(at, view.x, bank)) + 0.01
        _pine(draw, rng, at * width, ground * height, float(rng.uniform(0.10, 0.20)) * height)
    for place in rng.random(260):
        ground = 1.0 - float(np.interp(place, view.x, bank))
        if ground > 0.992:
            continue
        long, lean = float(rng.uniform(0.008, 0.026)), float(rng.normal(0.0, 0.006))
        foot = (place * width, (ground + 0.004) * height)
        tip = ((place + lean) * width, (ground - long) * height)
        draw.line([foot, tip], fill=235, width=max(1, round(height / 900)))
    cover = np.asarray(mask.resize((view.width, view.height), Image.Resampling.BOX), np.float32) / 255.0
    hour = view.hour
    dark = rgb(hour.rock) * 0.55
    haze = rgb(hour.haze)
    rise = ease(1.0, 0.35, view.y)[:, None, None]
    colour = dark + (haze - dark) * 0.10 * rise
    canvas += (colour - canvas) * cover[:, :, None]


def _pine(draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, ground: float, high: float) -> None:
    """A conifer: a trunk, and tiers of drooping branches that widen downwards, none like another."""
    trunk = high * 0.011
    draw.polygon(
        [
            (x - trunk, ground),
            (x - trunk * 0.3, ground - high),
            (x + trunk * 0.3, ground - high),
            (x + trunk, ground),
        ],
        fill=255,
    )
    tiers = int(rng.integers(20, 27))
    reach = high * float(rng.uniform(0.13, 0.17))
    for tier in range(tiers):
        part = (tier + 0.6) / tiers
        at = ground - high * (1.0 - part * 0.90)
        thick = high * (0.016 + 0.016 * part)
        for direction in (-1, 1):
            long = reach * part**0.85 * float(rng.uniform(0.62, 1.12))
            droop = high * (0.012 + 0.030 * part) * float(rng.uniform(0.7, 1.25))
            tip = (x + direction * long, at + droop)
            points = [(x, at - thick)]
            steps = 5
            for step in range(1, steps + 1):
                along = step / steps
                points.append((x + direction * long * along, at - thick * (1 - along) + droop * along**1.3))
            points.append(tip)
            for back in range(steps, 0, -1):
                along = (back - 0.5) / steps
                ragged = thick * float(rng.uniform(0.3, 1.5)) * (1.15 - along)
                points.append((x + direction * long * along, at + droop * along**1.3 + ragged))
            points.append((x, at + thick * 1.2))
            draw.polygon(points, fill=255)
