"""The hours of the day: what colour everything has, and where the light stands."""

from dataclasses import dataclass

Colour = tuple[float, float, float]


def _rgb(text: str) -> Colour:
    value = int(text, 16)
    return ((value >> 16) / 255.0, (value >> 8 & 255) / 255.0, (value & 255) / 255.0)


@dataclass(frozen=True)
class Hour:
    """Heights are measured from the horizon (0) to the top of the picture (1)."""

    sky: tuple[tuple[float, Colour], ...]
    """Stops of the gradient, from the horizon up."""
    haze: Colour
    """What distance turns everything into."""
    rock: Colour
    """What the nearest land looks like."""
    snow: Colour
    light: Colour
    """Colour of the sun or the moon, and of what it touches."""
    cloud: Colour
    height: float
    disc: float
    """Radius of the sun or moon, as a part of the picture's height."""
    glow: float
    stars: float = 0.0
    aurora: float = 0.0
    clouds: float = 0.6
    mist: float = 0.7
    relief: float = 0.5
    """How strongly the light models the slopes."""
    moon: bool = False


HOURS: dict[str, Hour] = {
    "dawn": Hour(
        sky=(
            (0.0, _rgb("ffd9b0")),
            (0.12, _rgb("fbb9a2")),
            (0.34, _rgb("d79bb0")),
            (0.62, _rgb("8e8fbe")),
            (1.0, _rgb("4f6aa3")),
        ),
        haze=_rgb("dfb0b6"),
        rock=_rgb("2b3352"),
        snow=_rgb("ffdccb"),
        light=_rgb("ffe3b8"),
        cloud=_rgb("ffc9b4"),
        height=0.20,
        disc=0.030,
        glow=0.85,
        stars=0.10,
        clouds=0.65,
        mist=0.95,
        relief=0.55,
    ),
    "day": Hour(
        sky=(
            (0.0, _rgb("e9f1ee")),
            (0.18, _rgb("bfdde8")),
            (0.5, _rgb("79b4d8")),
            (1.0, _rgb("2f77b5")),
        ),
        haze=_rgb("bcd3dd"),
        rock=_rgb("1f3d3a"),
        snow=_rgb("ffffff"),
        light=_rgb("fff6da"),
        cloud=_rgb("ffffff"),
        height=0.66,
        disc=0.026,
        glow=0.45,
        clouds=0.85,
        mist=0.6,
        relief=0.85,
    ),
    "sunset": Hour(
        sky=(
            (0.0, _rgb("ffd27a")),
            (0.10, _rgb("ff9f5a")),
            (0.28, _rgb("ee6a55")),
            (0.55, _rgb("9a4a78")),
            (1.0, _rgb("2f2b5f")),
        ),
        haze=_rgb("dd7d70"),
        rock=_rgb("1d1631"),
        snow=_rgb("ffb58a"),
        light=_rgb("ffe09a"),
        cloud=_rgb("ff8f6b"),
        height=0.13,
        disc=0.042,
        glow=1.0,
        stars=0.15,
        clouds=0.8,
        mist=0.75,
        relief=0.45,
    ),
    "moonlight": Hour(
        sky=(
            (0.0, _rgb("6d86a6")),
            (0.16, _rgb("46628c")),
            (0.45, _rgb("22386a")),
            (1.0, _rgb("0a1230")),
        ),
        haze=_rgb("56719a"),
        rock=_rgb("060b1b"),
        snow=_rgb("b9cce8"),
        light=_rgb("f3f1e0"),
        cloud=_rgb("8fa6c9"),
        height=0.60,
        disc=0.040,
        glow=0.55,
        stars=0.8,
        clouds=0.45,
        mist=0.75,
        relief=0.55,
        moon=True,
    ),
    "aurora": Hour(
        sky=(
            (0.0, _rgb("2f5a66")),
            (0.2, _rgb("17384f")),
            (0.5, _rgb("0c1d3b")),
            (1.0, _rgb("050a1e")),
        ),
        haze=_rgb("2c5463"),
        rock=_rgb("040912"),
        snow=_rgb("a9d6cf"),
        light=_rgb("b8ffdf"),
        cloud=_rgb("3c6a75"),
        height=0.34,
        disc=0.0,
        glow=0.18,
        stars=1.0,
        aurora=1.0,
        clouds=0.15,
        mist=0.6,
        relief=0.4,
    ),
}
