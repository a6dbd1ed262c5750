"""A model's OpenAPI document, read in its own interpreter without its ``setup()``."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import IO, Any

from gpu_agent.coglet_command import coglet_command, coglet_environment
from gpu_agent.model_dir import ModelDir

LINGER_S = 0.5
"""How long a process that the model has started while it was imported may keep our pipe open afterwards."""
_MISSING = re.compile(rb"ModuleNotFoundError: No module named '([^']+)'")


class NotLoaded(Exception):
    """The model cannot be loaded. What it said of that was shown; the text is one line."""

    def __init__(self, reason: str, missing_module: str | None = None) -> None:
        super().__init__(reason)
        self.missing_module = missing_module


class NoInterpreter(NotLoaded):
    """What was named as the interpreter cannot be started."""


def read_document(model: ModelDir, python: str, show: Callable[[bytes], None]) -> dict[str, Any]:
    """Import the model and return its document. Blocks.

    ``show`` gets, as it comes and from another thread, what the model prints while it is imported, and every
    mistake of it. Raises ``NotLoaded``.
    """
    try:
        process = subprocess.Popen(
            coglet_command(python, model, "predict", "--schema"),
            cwd=model.path,
            env=coglet_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C is for us: what is being imported would answer it with a traceback.
            start_new_session=True,
        )
    except OSError as error:
        raise NoInterpreter(f"the interpreter {python} cannot be started: {error.strerror}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    last = [b""]
    reader = threading.Thread(target=_pass_on, args=(process.stderr, show, last), daemon=True)
    reader.start()
    try:
        text = process.stdout.read()
        process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    reader.join(LINGER_S)
    if process.returncode:
        missing = _MISSING.fullmatch(last[0])
        raise NotLoaded(
            f"{model.path} cannot be loaded: see above",
            os.fsdecode(missing[1]) if missing else None,
        )
    try:
        document: dict[str, Any] = json.loads(text)
    except ValueError:
        raise NotLoaded(
            f"{model.path} cannot be loaded: it ended the interpreter while it was imported"
        ) from None
    return document


def _pass_on(pipe: IO[bytes], show: Callable[[bytes], None], last: list[bytes]) -> None:
    for line in pipe:
        show(line)
        last[0] = line.strip() or last[0]
