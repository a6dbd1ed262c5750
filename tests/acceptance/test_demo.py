"""``make demo``, as a newcomer runs it, but for staying up."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.support.commands import REPOSITORY


def test_the_demo_runs_the_three_models_and_leaves_their_pictures(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "demo.py")],
        env={**os.environ, "DEMO_ONCE": "1", "DEMO_DATA": str(tmp_path / "demo")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It works." in done.stdout
    pictures = sorted((tmp_path / "demo" / "pictures").iterdir())
    assert len(pictures) == 2
    for picture in pictures:
        with Image.open(picture) as image:
            assert min(image.size) >= 600
            assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 5
