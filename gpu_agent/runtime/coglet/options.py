"""The command line of coglet. Read by hand, as ``argparse`` would be a tenth of the start."""

import os
import sys
from typing import List, NoReturn

USAGE = """\
usage: python -m coglet --dir DIR --predictor FILE.py:NAME [--train FILE.py:NAME] [--mode predict|train]
                        [--max-concurrency N] [--events] [--parent PID]
       python -m coglet --schema --predictor FILE.py:NAME [--train FILE.py:NAME]

Runs the predictor of the current directory for the process that started this, by files in DIR and signals.

  --dir DIR              working directory shared with the parent
  --predictor REF        predictor class or function, as predict.py:Predictor
  --train REF            what trains it, for the document; as train.py:train
  --mode MODE            what is run for each request: predict (or run), or train (default predict)
  --max-concurrency N    predictions at a time, for an async predict (default what @concurrent says, or 1)
  --events               linear form: items and metrics in events-ID.jsonl, logs in logs/ID
  --parent PID           process to signal (default the one that started this)
  --schema               print the OpenAPI document, without setup, and exit
"""
_NUMBERS = ("--max-concurrency", "--parent")
_FLAGS = ("--events", "--schema")
_TEXTS = ("--dir", "--predictor", "--train", "--mode")


class Options:
    """What was asked for. Ends the process for a command line that is none."""

    def __init__(self, arguments: List[str]) -> None:
        self.dir = ""
        self.predictor = ""
        self.train = ""
        self.mode = "predict"
        self.max_concurrency = 0
        """0 when it was not given."""
        self.events = False
        self.schema = False
        self.parent = os.getppid()
        self._read(list(arguments))
        for required in ("predictor",) if self.schema else ("dir", "predictor"):
            if not getattr(self, required):
                _usage_error(f"--{required} is missing")
        if self.mode not in ("predict", "train"):
            _usage_error(f"--mode {self.mode!r} is neither predict nor train")

    def _read(self, queue: List[str]) -> None:
        while queue:
            name, equals, value = queue.pop(0).partition("=")
            if name in ("-h", "--help"):
                sys.stdout.write(USAGE)
                sys.exit(0)
            attribute = name[2:].replace("-", "_")
            if name in _FLAGS and not equals:
                setattr(self, attribute, True)
                continue
            if name not in _NUMBERS and name not in _TEXTS:
                _usage_error(f"unknown option {name}")
            if not equals:
                if not queue:
                    _usage_error(f"{name} needs a value")
                value = queue.pop(0)
            if name in _TEXTS:
                setattr(self, attribute, value)
            elif value.isdigit() and int(value) >= 1:
                setattr(self, attribute, int(value))
            else:
                _usage_error(f"{name} {value!r} is not a number of at least 1")


def _usage_error(text: str) -> NoReturn:
    sys.stderr.write(f"coglet: {text}\n{USAGE}")
    sys.exit(2)
