"""``python -m cog.command.openapi_schema [FILE.py:NAME]``: the OpenAPI document of the model in this folder.

Without a name it is the predictor of ``COG_PREDICT_TYPE_STUB``, of cog.yaml, or ``predict.py``.
"""

import sys

from coglet.__main__ import print_schema
from coglet.options import Options
from coglet.reference import find_references


def main() -> int:
    predict, train = find_references(sys.argv[1] if len(sys.argv) > 1 else None)
    arguments = ["--schema", "--predictor", predict]
    return print_schema(Options([*arguments, "--train", train] if train else arguments))


if __name__ == "__main__":
    sys.exit(main())
