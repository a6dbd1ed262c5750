"""Values that clients send: what they become, and what is said about those that do not fit."""

from pathlib import Path
from typing import Any

SOURCE = """\
from typing import *
from cog import *

class Predictor:
    def predict(
        self,
        s: str = Input(default="abc", min_length=2, max_length=5, regex="b"),
        i: int = Input(default=1, ge=0, le=10),
        f: float = Input(default=0.5, ge=-1, le=1),
        b: bool = False,
        c: str = Input(default="a", choices=["a", "z"]),
        k: int = Input(default=1, choices=[1, 2]),
        o: Optional[int] = Input(default=5),
        l: List[int] = Input(default=[1], ge=0),
        p: Path = Input(default="."),
        q: Optional[List[Path]] = None,
        t: Secret = Input(default="hush"),
    ) -> str:
        return ""
"""
REQUIRED = "from cog import *\nclass Predictor:\n    def predict(self, a: str, b: int) -> str: return a\n"

TAKEN: list[tuple[dict[str, Any], str, str]] = [
    ({}, "s", "'abc'"),
    ({}, "o", "5"),
    ({}, "q", "None"),
    ({}, "p", "Path('.')"),
    ({}, "t", "Secret('**********')"),
    ({"i": 5.0}, "i", "5"),
    ({"i": "5"}, "i", "5"),
    ({"i": "5.0"}, "i", "5"),
    ({"i": True}, "i", "1"),
    ({"f": 1}, "f", "1.0"),
    ({"f": "0.25"}, "f", "0.25"),
    ({"b": "yes"}, "b", "True"),
    ({"b": 0}, "b", "False"),
    ({"o": None}, "o", "None"),
    ({"l": [1, "2", 3.0]}, "l", "[1, 2, 3]"),
    ({"c": "z", "unknown": 1}, "c", "'z'"),
    ({"q": ["."]}, "q", "[Path('.')]"),
    ({"t": "s3cret"}, "t", "Secret('**********')"),
]

NOT_TAKEN: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"s": 5}, {"s": "must be a string, not an integer"}),
    ({"s": None}, {"s": "must not be null"}),
    ({"s": "b"}, {"s": "must have at least 2 characters"}),
    ({"s": "abcdef"}, {"s": "must have at most 5 characters"}),
    ({"s": "xyz"}, {"s": "must match the pattern b"}),
    ({"i": 11}, {"i": "must be at most 10"}),
    ({"i": -1}, {"i": "must be at least 0"}),
    ({"i": 5.5}, {"i": "must be an integer, not a fraction"}),
    ({"i": "five"}, {"i": "must be an integer, not a string"}),
    ({"i": [5]}, {"i": "must be an integer, not a list"}),
    ({"i": 1e400}, {"i": "must be a finite number"}),
    ({"i": "9" * 5000}, {"i": "must be a finite number"}),
    ({"f": "nan"}, {"f": "must be a finite number"}),
    ({"f": {}}, {"f": "must be a number, not an object"}),
    ({"b": "maybe"}, {"b": "must be true or false, not a string"}),
    ({"c": "b"}, {"c": "must be one of 'a', 'z'"}),
    ({"k": 3}, {"k": "must be one of 1, 2"}),
    ({"l": 3}, {"l": "must be a list, not an integer"}),
    ({"l": [1, -2]}, {"l": "element 1 must be at least 0"}),
    ({"l": [1, None]}, {"l": "element 1 must be an integer, not null"}),
    ({"p": "/no/such/file"}, {"p": "there is no such file"}),
    ({"p": "a\0b"}, {"p": "there is no such file"}),
    (
        {"p": "https://example.org/a.png"},
        {"p": "is a URL that was not fetched: the runner takes files on its own disk"},
    ),
    ({"t": ["s3cret"]}, {"t": "must be a string, not a list"}),
    ({"i": 11, "k": 3}, {"i": "must be at most 10", "k": "must be one of 1, 2"}),
]


def test_values(any_python: str, inspect_models: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(SOURCE)
    required = tmp_path / "required.py"
    required.write_text(REQUIRED)
    asked = [[str(model), given] for given, *_ in [*TAKEN, *NOT_TAKEN]]
    answers = inspect_models(any_python, inputs=[*asked, [str(required), {"b": None}]])["inputs"]
    for (given, name, expected), answer in zip(TAKEN, answers[: len(TAKEN)], strict=True):
        assert answer["arguments"][name] == expected, given
        assert "unknown" not in answer["arguments"]
    for (given, reasons), answer in zip(NOT_TAKEN, answers[len(TAKEN) : -1], strict=True):
        assert answer == {"reasons": reasons}, given
        assert "s3cret" not in str(answer)
    assert answers[-1] == {"reasons": {"a": "is required", "b": "must not be null"}}
