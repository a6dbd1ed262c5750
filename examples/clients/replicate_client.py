"""Runs the three example models with Replicate's own Python client: pip install replicate==1.0.7

    export REPLICATE_BASE_URL=http://127.0.0.1:8000 REPLICATE_API_TOKEN=cf_...
    python examples/clients/replicate_client.py

The client reads both variables by itself; without the first one the same code talks to Replicate.
"""

import argparse
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import replicate

STEPS = 8
WIDTH = min(78, shutil.get_terminal_size().columns - 2)


def tell_story(prompt: str) -> None:
    """Text, streamed: each word is printed when the model says it."""
    started = time.monotonic()
    prediction = replicate.predictions.create(
        model="demo/storyteller", input={"prompt": prompt, "words": 110, "seed": 10}, stream=True
    )
    title("demo/storyteller", prediction.id)
    column = 0
    for event in prediction.stream():
        if word := str(event):
            column = write(word, column)
    print("\n")
    note(f"{time.monotonic() - started:.1f} s, streamed word by word")


def paint_landscape(hour: str, seed: int, folder: Path) -> Path:
    """A picture that develops: each step is a file of its own, there to be shown at once."""
    started = time.monotonic()
    prediction = replicate.predictions.create(
        model="demo/landscape", input={"hour": hour, "seed": seed, "steps": STEPS}
    )
    title("demo/landscape", prediction.id)
    shown = 0
    while True:
        # The last file is the finished picture; those before it are sketches.
        files: list[str] = prediction.output or []
        for _ in files[shown:]:
            shown += 1
            progress(f"step {shown}", shown, STEPS)
        if prediction.status in ("succeeded", "failed", "canceled"):
            break
        time.sleep(0.1)
        prediction.reload()
    if prediction.status != "succeeded":
        raise RuntimeError(f"{prediction.id} {prediction.status}: {prediction.error}")
    print()
    picture = save(files[-1], folder / f"landscape-{hour}-{seed}.png")
    note(f"{time.monotonic() - started:.1f} s, {shown} pictures from first sketch to finished print")
    tell_file(picture, files[-1])
    return picture


def restyle(picture: Path, style: str, folder: Path) -> Path:
    """A file in, a file out: the client uploads the picture, and ``run`` waits for the result."""
    started = time.monotonic()
    title("demo/restyle", style)
    with picture.open("rb") as image:
        output = replicate.run("demo/restyle", input={"image": image, "style": style})
    restyled = save(output, folder / f"{picture.stem}-{style}.png")
    note(f"{time.monotonic() - started:.1f} s, with the upload of {picture.stat().st_size / 1e6:.1f} MB")
    tell_file(restyled, output)
    return restyled


def save(output: Any, path: Path) -> Path:
    """Store an output file: an ``https:`` or ``http:`` URL, or the file itself as a ``data:`` URL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(str(output), timeout=60) as answer, path.open("wb") as file:
        shutil.copyfileobj(answer, file)
    return path


def title(model: str, detail: str) -> None:
    print(f"\n{bold(model)}  {dim(detail)}\n", flush=True)


def write(text: str, column: int) -> int:
    """Print a piece of running text, wrapped at words; returns the column after it."""
    if column + len(text) > WIDTH:
        text, column = text.lstrip(), 0
        print()
    if column == 0:
        print("  ", end="")
    print(text, end="", flush=True)
    return column + len(text)


def progress(what: str, done: int, of: int) -> None:
    bar = "█" * (24 * done // of) + "░" * (24 - 24 * done // of)
    print(f"\r  {bar}  {what} of {of}" if sys.stdout.isatty() else f"  {what} of {of}", end="", flush=True)
    if not sys.stdout.isatty():
        print(flush=True)


def tell_file(path: Path, url: Any) -> None:
    shown = str(url).partition(",")[0] if str(url).startswith("data:") else str(url)
    print(f"  {path}\n  {dim(shown)}", flush=True)


def note(text: str) -> None:
    print(f"  {dim(text)}", flush=True)


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if sys.stdout.isatty() else text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompt", default="the sea at night", help="what the story is about")
    parser.add_argument("--hour", default="sunset", help="dawn, day, sunset, moonlight or aurora")
    parser.add_argument("--seed", type=int, default=42, help="which landscape")
    parser.add_argument("--style", default="poster", help="duotone, halftone, pixel, ink or poster")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder for the pictures")
    options = parser.parse_args()
    tell_story(options.prompt)
    picture = paint_landscape(options.hour, options.seed, options.output)
    restyle(picture, options.style, options.output)


if __name__ == "__main__":
    main()
