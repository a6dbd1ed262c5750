"""``setup_logging``: the standard library's logging, on stderr, which is the prediction's log."""

import logging
import sys


def setup_logging(*, log_level: int = logging.NOTSET) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level)
