"""``python -m cog.command.test [FILE.py:NAME]``: one prediction with the ``test_inputs`` of the predictor.

``test_inputs`` is a class attribute: a dict, or a function that returns one. Without it the defaults are
used. Prints the output as JSON; exits with 1 when there is none.
"""

import sys

from coglet.reference import find_references
from coglet.trial import run

if __name__ == "__main__":
    sys.exit(run(find_references(sys.argv[1] if len(sys.argv) > 1 else None)[0]))
