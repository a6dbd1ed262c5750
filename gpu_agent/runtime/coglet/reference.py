"""Which predictor is meant where none is named."""

import os
import re
from typing import Optional, Tuple

_KEY = re.compile(r"""^(?P<key>predict|run|train)\s*:\s*["']?(?P<value>[^"'#\s]+)""", re.MULTILINE)


def find_references(named: Optional[str]) -> Tuple[str, str]:
    """References of the predictor and of what trains it, "" where there is no training.

    As named, else of ``COG_PREDICT_TYPE_STUB`` and ``COG_TRAIN_TYPE_STUB``, else of the top-level keys of
    cog.yaml (there is no YAML in the standard library, and more of it is not needed), else ``predict.py``.
    """
    found = {}
    if os.path.exists("cog.yaml"):
        with open("cog.yaml", encoding="utf-8") as file:
            found = {match["key"]: match["value"] for match in _KEY.finditer(file.read())}
    predict = named or os.environ.get("COG_PREDICT_TYPE_STUB") or found.get("predict") or found.get("run")
    train = os.environ.get("COG_TRAIN_TYPE_STUB") or found.get("train") or ""
    return predict or "predict.py", "" if named else train
