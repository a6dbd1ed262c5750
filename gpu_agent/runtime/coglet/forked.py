"""A child that the model's code forks, and that leaves that code by an exception or a return, must end there:
it would go on as a second coglet, with the same directory and the same parent.
"""

import os
import sys
from typing import Optional

from coglet.job import traceback_of

_OWN = os.getpid()


def end_if_child(error: Optional[BaseException] = None) -> None:
    """Does nothing in the process that coglet is. A child ends as it would by itself: with the code of its
    ``SystemExit``, or with 1 and a traceback; without what was registered for the end of its parent."""
    if os.getpid() == _OWN:
        return
    code = _exit_code(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # replaced or closed by the model
    os._exit(code)


def _exit_code(error: Optional[BaseException]) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        text = f"{error.code}\n"
    else:
        text = traceback_of(error)
    try:
        sys.stderr.write(text)
    except (AttributeError, OSError, ValueError):
        pass  # replaced or closed by the model
    return 1
