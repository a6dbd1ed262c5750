"""One document on standard output, for who runs coglet by hand."""

import json
import os
import sys
from typing import Any, Callable, Tuple, Type

from coglet.job import traceback_of


def print_document(make: Callable[[], Any], mistakes: Tuple[Type[BaseException], ...]) -> int:
    """Print what ``make`` returns, alone: what the model prints meanwhile goes to stderr.

    Returns the exit code, 1 after an error. Of one of ``mistakes`` its text says all; any other has its
    traceback.
    """
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        document = make()
    except mistakes as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BaseException as error:
        sys.stderr.write(traceback_of(error))
        return 1
    with open(stdout, "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0
