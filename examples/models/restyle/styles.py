"""Five ways to redraw a picture. Each takes and gives an RGB image and does the same to the same picture."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

DUOTONE = ((0.0, (24, 18, 66)), (0.45, (190, 48, 108)), (0.75, (255, 134, 86)), (1.0, (255, 236, 196)))
PAPER, INK = (246, 240, 226), (28, 30, 44)
PRINT = ((0, 169, 206), (233, 64, 132), (255, 214, 51), (38, 38, 46))


def duotone(picture: Image.Image) -> Image.Image:
    """Two inks, from deep violet to warm cream."""
    tone = _tone(picture)
    stops = [stop for stop, _ in DUOTONE]
    channels = [np.interp(tone, stops, [ink[i] for _, ink in DUOTONE]) for i in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def halftone(picture: Image.Image) -> Image.Image:
    """Four screens of dots at their own angles, as an old comic is printed."""
    scale = 2
    width, height = picture.width * scale, picture.height * scale
    soft = ImageOps.autocontrast(picture, cutoff=1, preserve_tone=True).filter(
        ImageFilter.GaussianBlur(max(picture.size) / 400)
    )
    inks = 1.0 - np.asarray(soft.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255.0
    black = inks.min(axis=2) ** 1.8 * 0.85
    plates = [*np.moveaxis(np.clip((inks - black[:, :, None] * 0.75) * 1.25, 0.0, 1.0) ** 0.9, 2, 0), black]
    paper = np.ones((height, width, 3), np.float32) * np.array(PAPER, np.float32) / 255.0
    cell = max(8.0, max(width, height) / 210.0)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    for plate, ink, degrees in zip(plates, PRINT, (15.0, 75.0, 0.0, 45.0), strict=True):
        turn = np.deg2rad(degrees)
        along = (across * np.cos(turn) + down * np.sin(turn)) * (2.0 * np.pi / cell)
        aside = (down * np.cos(turn) - across * np.sin(turn)) * (2.0 * np.pi / cell)
        screen = 0.5 + 0.25 * (np.cos(along) + np.cos(aside))
        dots = np.clip((plate - screen) * cell * 0.6 + 0.5, 0.0, 1.0)
        paper *= 1.0 - dots[:, :, None] * (1.0 - np.array(ink, np.float32) / 255.0)
    return Image.fromarray((paper * 255.0).astype(np.uint8)).resize(picture.size, Image.Resampling.BOX)


def pixel(picture: Image.Image) -> Image.Image:
    """Big pixels in 32 colours, softened by ordered dither."""
    cells = max(picture.size) / 200.0
    small = (max(1, round(picture.width / cells)), max(1, round(picture.height / cells)))
    few = ImageOps.autocontrast(picture.resize(small, Image.Resampling.BOX), cutoff=0.5, preserve_tone=True)
    pattern = (
        np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16.0 - 0.5
    )
    tiled = np.tile(pattern, (small[1] // 4 + 1, small[0] // 4 + 1))[: small[1], : small[0]]
    palette = few.quantize(32, method=Image.Quantize.MEDIANCUT)
    shaken = np.clip(np.asarray(few, np.float32) + 15.0 * tiled[:, :, None], 0.0, 255.0).astype(np.uint8)
    coded = Image.fromarray(shaken).quantize(palette=palette, dither=Image.Dither.NONE)
    return coded.convert("RGB").resize(picture.size, Image.Resampling.NEAREST)


def ink(picture: Image.Image) -> Image.Image:
    """Pen and ink: hatching that thickens with the shade, and a line where shapes end."""
    tone = _tone(picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 500)))
    height, width = tone.shape
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    gap = max(4.0, max(picture.size) / 210.0)
    hand = np.random.default_rng(11).standard_normal((height // 24 + 2, width // 24 + 2)).astype(np.float32)
    shake = np.asarray(Image.fromarray(hand).resize((width, height), Image.Resampling.BICUBIC)) * gap * 0.22
    drawn = np.zeros_like(tone)
    for degrees, from_tone in ((42.0, 0.82), (-38.0, 0.52), (4.0, 0.30)):
        turn = np.deg2rad(degrees)
        phase = ((across * np.sin(turn) + down * np.cos(turn)) + shake) / gap
        away = np.abs(phase - np.round(phase)) * gap
        thick = np.clip((from_tone - tone) / from_tone, 0.0, 1.0) * gap * 0.42
        drawn = np.maximum(drawn, np.clip(thick - away + 0.5, 0.0, 1.0) * (thick > 0.12))
    wide = max(picture.size) / 900.0
    fine = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(1.0 * wide)), np.float32)
    broad = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(2.4 * wide)), np.float32)
    line = np.clip((broad - fine - 2.0) / 9.0, 0.0, 1.0)
    cover = np.maximum(drawn * 0.9, line)[:, :, None]
    page = np.array(PAPER, np.float32) * (1.0 - cover) + np.array(INK, np.float32) * cover
    return Image.fromarray(page.astype(np.uint8))


def poster(picture: Image.Image) -> Image.Image:
    """A screen print: a handful of flat colours with clean edges."""
    flat = ImageOps.autocontrast(picture, cutoff=1, preserve_tone=True)
    reach = max(3, round(max(picture.size) / 260) | 1)
    for _ in range(2):
        flat = flat.filter(ImageFilter.MedianFilter(min(reach, 9)))
    coded = flat.quantize(9, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
    shapes = coded.convert("RGB").filter(ImageFilter.ModeFilter(min(reach, 9)))
    hue, vividness, value = shapes.convert("HSV").split()
    vividness = vividness.point([min(255, round(level * 1.35 + 8)) for level in range(256)])
    sheet = Image.merge("HSV", (hue, vividness, value)).convert("RGB")
    margin = round(max(picture.size) * 0.028)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, sheet.width - 1, sheet.height - 1), outline=PAPER, width=margin)
    return sheet


def _tone(picture: Image.Image) -> np.ndarray:
    """How bright each point is, 0 to 1, stretched to the full range."""
    grey = ImageOps.autocontrast(picture.convert("L"), cutoff=1)
    return np.asarray(grey, np.float32) / 255.0


STYLES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "duotone": duotone,
    "halftone": halftone,
    "pixel": pixel,
    "ink": ink,
    "poster": poster,
}
