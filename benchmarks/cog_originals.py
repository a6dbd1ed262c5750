"""Cog's own servers, each in a virtual environment below ``build/originals``."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "0.23.1": ("cog==0.23.1", "coglet==0.23.1"),
    "0.16.12": ("cog==0.16.12",),
    "0.9.26": ("cog==0.9.26", "setuptools<81"),
}


def installed(version: str) -> Path:
    """The environment of an original; it is made from the package index when it is not there."""
    folder = ROOT / "build" / "originals" / version
    if not (folder / "complete").exists():
        print(f"installing cog {version}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *PACKAGES[version]], check=True)
        (folder / "complete").touch()
    return folder


def command(version: str, port: int) -> tuple[list[str], dict[str, str]]:
    """How an original is started in a model's folder: its command line and its environment."""
    binaries = installed(version) / "bin"
    environment = {
        **os.environ,
        # The newest generation runs the model in the first ``python`` that it finds.
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PORT": str(port),
        "COG_PREDICT_TYPE_STUB": "predict.py:Predictor",
    }
    return [str(binaries / "python"), "-m", "cog.server.http", "--host", "127.0.0.1"], environment
