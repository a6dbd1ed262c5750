"""A Python package in a folder that pip can build without any network: its build backend is its own."""

from pathlib import Path

BACKEND = '''\
import os
import time
import zipfile


def build_wheel(folder, config_settings=None, metadata_directory=None):
    """Each build leaves a line in the file .log, and waits while there is a file .hold."""
    with open(".log", "a") as log:
        log.write(f"{os.getpid()}\\n")
    while os.path.exists(".hold"):
        time.sleep(0.01)
    name = "greeting-1.0-py3-none-any.whl"
    info = "greeting-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        with open("greeting.py") as source:
            wheel.writestr("greeting.py", source.read())
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\ngreet = greeting:main\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
'''
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "greeting"
version = "1.0"
"""
MODEL = """\
import greeting
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, name: str) -> str:
        return f"{greeting.WORD} {name}"
"""
CONFIG = """\
build:
  python_requirements: requirements.txt
  system_packages: [ffmpeg]
  run: [make weights]
predict: predict.py:Predictor
"""


def write_package(folder: Path, word: str = "hello") -> Path:
    """The package ``greeting``, with ``greeting.WORD`` and the console script ``greet``."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "greeting.py").write_text(f"WORD = {word!r}\n\ndef main():\n    print(WORD)\n")
    return folder


def write_model(folder: Path) -> Path:
    """A model that needs the package, which lies in its folder, and nothing of any index."""
    write_package(folder / "parts" / "greeting")
    (folder / "cog.yaml").write_text(CONFIG)
    (folder / "predict.py").write_text(MODEL)
    (folder / "requirements.txt").write_text("--no-index\n./parts/greeting\n")
    return folder


def builds(model: Path) -> int:
    """How often the package was built."""
    log = model / "parts" / "greeting" / ".log"
    return len(log.read_text().splitlines()) if log.exists() else 0
