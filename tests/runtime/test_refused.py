"""Predictors with mistakes: each is refused with every rule it breaks, the line, and the line's text."""

from pathlib import Path
from typing import Any

IMPORTS = """\
import datetime
import enum
from typing import *
from cog import *
import dataclasses
class Colours(enum.Enum): RED = "red"; BLUE = "blue"
class Sizes(enum.Enum): SMALL = (1, 2); LARGE = (3, 4)
class Mixed(enum.Enum): A = "a"; B = 1
class Empty(enum.Enum): pass
class Plain: pass
@dataclasses.dataclass
class Dated: day: datetime.date
@dataclasses.dataclass
class Wrong: n: int = "a"
"""
DEF_LINE = IMPORTS.count("\n") + 2


def method(signature: str, body: str = "pass", setup: str = "") -> str:
    return f"{IMPORTS}class Predictor(BasePredictor):\n    {signature}\n        {body}\n{setup}"


def predict(parameters: str, returns: str = "-> str", body: str = "return ''") -> str:
    return method(f"def predict(self, {parameters}) {returns}:", body)


def setup(signature: str, before: str = "def predict(self) -> str: return ''") -> str:
    return f"{IMPORTS}class Predictor:\n    {signature}\n        return None\n    {before}\n"


REFUSED: dict[str, tuple[str, list[str]]] = {
    "the README's example": (
        predict('n=Input(default="how many", ge=1, le=100)'),
        [
            "missing type annotation for input n, as in `n: str`",
            "default='how many' conflicts with ge=1, le=100: it is not a number: n",
        ],
    ),
    "no annotation": (predict("s"), ["missing type annotation for input s, as in `s: str`"]),
    "unsupported type": (
        predict("dt: datetime.datetime"),
        ["unsupported type datetime.datetime for input dt; an input may be"],
    ),
    "unsupported element": (
        predict("m: List[Dict[str, datetime.date]]"),
        ["unsupported type datetime.date for input m"],
    ),
    "keys that JSON does not have": (
        predict("m: Dict[float, str]"),
        ["(keys of a dict must be str) for input m"],
    ),
    "a function": (predict("f: Callable"), ["unsupported type"]),
    "file or string": (
        predict("p: Union[Path, str]"),
        ["(with a file or a Secret, nothing else may be a string) for input p"],
    ),
    "secret or anything": (
        predict("p: Union[Secret, str]"),
        ["(with a file or a Secret, nothing else may be a string) for input p"],
    ),
    "literal that is no JSON": (
        predict('p: Literal[b"a", b"b"]'),
        ["(its values may be str, int and bool) for input p"],
    ),
    "enum of tuples": (
        predict("p: Sizes"),
        ["Sizes (the values of an Enum must all be str or all int) for input p"],
    ),
    "enum of two types": (
        predict("p: Mixed"),
        ["Mixed (the values of an Enum must all be str or all int) for input p"],
    ),
    "enum without members": (predict("p: Empty"), ["Empty (an Enum without members) for input p"]),
    "a class": (predict("p: Plain"), ["Plain for input p; an input may be"]),
    "dataclass with an odd field": (
        predict("p: Dated"),
        ["unsupported type Dated with its field day: datetime.date for input p"],
    ),
    "dataclass with a wrong default": (
        predict("p: Wrong"),
        ["unsupported type Wrong: the default of n is not of type int for input p"],
    ),
    "ge on a union": (
        predict("u: Union[int, str] = Input(ge=1)"),
        ["incompatible type for ge/le: u: Union[int, str] (they are for int and float)"],
    ),
    "choices of a union": (
        predict("u: Union[int, str] = Input(choices=[1, 2])"),
        ["incompatible type for choices: u: Union[int, str] (they are for str and int)"],
    ),
    "default that fits none of a union": (
        predict("u: Union[int, str] = 1.5"),
        ["default=1.5 is not of type Union[int, str]: u"],
    ),
    "ge on a list of lists": (
        predict("m: List[List[int]] = Input(ge=1)"),
        ["incompatible type for ge/le: m: list[int] (they are for int and float)"],
    ),
    "choices of an enum that are not its own": (
        predict('c: Colours = Input(choices=[Colours.RED, "GREEN"])'),
        ["not all choices have the type of the input: c: Colours (see 'GREEN')"],
    ),
    "default that is no member": (
        predict('c: Colours = "GREEN"'),
        ["default='GREEN' is none of Colours: c"],
    ),
    "accept on str": (
        predict('s: str = Input(accept="image/*")'),
        ["incompatible type for accept: s: str (it is for Path and File)"],
    ),
    "accept of nothing": (predict("p: Path = Input(accept=[])"), ["names no kind of file"]),
    "two defaults": (
        predict("m: List[str] = Input(default=[], default_factory=list)"),
        ["default and default_factory are mutually exclusive: m"],
    ),
    "a factory that is none": (
        predict("m: List[str] = Input(default_factory=3)"),
        ["default_factory=3 is not a function: m"],
    ),
    "a factory of something else": (
        predict("i: int = Input(default_factory=lambda: 'a')"),
        ["default='a' is not of type int: i"],
    ),
    "a name that is not there": (predict('s: "Missing"'), ["type 'Missing' cannot be evaluated"]),
    "ge on str": (
        predict("s: str = Input(ge=1)"),
        ["incompatible type for ge/le: s: str (they are for int and float)"],
    ),
    "le on list of str": (predict("s: List[str] = Input(le=1)"), ["incompatible type for ge/le: s: str"]),
    "ge that is no number": (predict('i: int = Input(ge="a")'), ["ge='a' is not a number: i"]),
    "ge above le": (predict("i: int = Input(ge=5, le=1)"), ["ge=5 is greater than le=1: i"]),
    "length on int": (
        predict("i: int = Input(min_length=1)"),
        ["incompatible type for min_length/max_length: i: int (they are for str)"],
    ),
    "negative length": (predict("s: str = Input(max_length=-1)"), ["max_length=-1 is not a count: s"]),
    "lengths crossed": (
        predict("s: str = Input(min_length=3, max_length=2)"),
        ["min_length=3 is greater than max_length=2: s"],
    ),
    "regex on int": (predict('i: int = Input(regex="a")'), ["incompatible type for regex: i: int"]),
    "broken regex": (predict('s: str = Input(regex="(")'), ["regex='(' is not a regular expression"]),
    "choices on bool": (
        predict("b: bool = Input(choices=[True, False])"),
        ["incompatible type for choices: b: bool (they are for str and int)"],
    ),
    "one choice": (
        predict('s: str = Input(choices=["a"])'),
        ["choices=['a'] must have at least 2 elements: s"],
    ),
    "choices and ge": (
        predict("i: int = Input(choices=[1, 2], ge=1)"),
        ["choices and ge/le are mutually exclusive: i"],
    ),
    "choices and lengths": (
        predict('s: str = Input(choices=["a", "b"], max_length=1)'),
        ["choices and min_length/max_length are mutually exclusive: s"],
    ),
    "mixed choices": (
        predict('s: str = Input(choices=["a", 1])'),
        ["not all choices have the type of the input: s: str (see 1)"],
    ),
    "default is none of the choices": (
        predict('s: str = Input(default="c", choices=["a", "b"])'),
        ["default='c' conflicts with choices=['a', 'b']: it is none of them: s"],
    ),
    "enum that is no str": (
        predict("s: str = Input(choices=list(Colours))"),
        ["enum Colours is used as str but does not extend it: s"],
    ),
    "default too small": (
        predict("i: int = Input(default=0, ge=10)"),
        ["default=0 conflicts with ge=10: i"],
    ),
    "default too large": (predict("i: int = Input(5, le=3)"), ["default=5 conflicts with le=3: i"]),
    "default too short": (
        predict('s: str = Input(default="a", min_length=2)'),
        ["default='a' conflicts with min_length=2: s"],
    ),
    "element of a default too long": (
        predict('s: List[str] = Input(default=["a", "abc"], max_length=2)'),
        ["default='abc' conflicts with max_length=2: s"],
    ),
    "default does not match": (
        predict('s: str = Input(default="foo", regex="^b")'),
        ["default='foo' conflicts with regex='^b': it does not match: s"],
    ),
    "default of another type": (predict('i: int = "a"'), ["default='a' is not of type int: i"]),
    "bool as int": (predict("i: int = True"), ["default=True is not of type int: i"]),
    "default of a list is none": (predict('s: List[str] = "a"'), ["default='a' is not a list: s"]),
    "secret default is not shown": (
        predict("s: Secret = 12345"),
        ["default='**********' is not of type Secret: s"],
    ),
    "several inputs": (
        predict("a, b: int = Input(ge=3, le=1), *rest, **more"),
        [
            "predict() must not have *rest",
            "predict() must not have **more, unless that is all it has",
            "missing type annotation for input a",
            "ge=3 is greater than le=1: b",
        ],
    ),
    "positional only": (predict("s: str, /"), ["input s must not be positional-only"]),
    "no return annotation": (predict("s: str", ""), ["missing return type annotation of predict()"]),
    "returns None": (predict("s: str", "-> None"), ["predict() must not return None"]),
    "bare iterator": (predict("s: str", "-> Iterator"), ["Iterator must have an element type"]),
    "bare concatenate": (
        predict("s: str", "-> ConcatenateIterator"),
        ["ConcatenateIterator must have str elements"],
    ),
    "concatenate of int": (
        predict("s: str", "-> ConcatenateIterator[int]"),
        ["ConcatenateIterator must have str elements"],
    ),
    "unsupported output": (
        predict("s: str", "-> bytes"),
        ["unsupported output type bytes"],
    ),
    "yields without an iterator": (
        predict("s: str", "-> str", "yield s"),
        ["predict() yields, so its return type must be an Iterator"],
    ),
    "no self": (method("def predict() -> str:"), ["predict() must have 'self' as its first argument"]),
    "predict is no function": (method("predict = 1\n    if True:"), ["predict is not a function"]),
    "no predict": (
        f"{IMPORTS}class Predictor:\n    pass\n",
        ["class Predictor has no predict() or run()"],
    ),
    "predict and run": (
        f"{IMPORTS}class Predictor:\n    def predict(self) -> str: return ''\n"
        "    def run(self) -> str: return ''\n",
        ["class Predictor has both predict() and run(): keep one of them"],
    ),
    "run without self": (method("def run() -> str:"), ["run() must have 'self' as its first argument"]),
    "run that returns None": (method("def run(self) -> None:"), ["run() must not return None"]),
    "a function with stars": (
        f"{IMPORTS}def Predictor(*a, b: int) -> str: return ''\n",
        ["Predictor() must not have *a"],
    ),
    "a function without a type": (
        f"{IMPORTS}def Predictor(b): return ''\n",
        ["missing type annotation for input b", "missing return type annotation of Predictor()"],
    ),
    "a function that yields": (
        f"{IMPORTS}def Predictor(b: str) -> str: yield b\n",
        ["Predictor() yields, so its return type must be an Iterator"],
    ),
    "setup is no function": (
        f"{IMPORTS}class Predictor:\n    setup = 1\n    def predict(self) -> str: return ''\n",
        ["setup is not a function"],
    ),
    "setup without self": (setup("def setup():"), ["setup() must have 'self' as its first argument"]),
    "setup with more": (setup("def setup(self, x, y, z=1):"), ["unexpected setup() arguments: x, y"]),
    "setup with stars": (setup("def setup(self, *a, **k):"), ["must not have *a", "must not have **k"]),
    "setup returns": (setup("def setup(self) -> int:"), ["setup() must return None"]),
    "setup with odd weights": (
        setup("def setup(self, weights: int):"),
        ["weights of setup() must be a Path or str, not int"],
    ),
    "async setup": (setup("async def setup(self):"), ["an async setup() needs an async predict()"]),
    "no class": (f"{IMPORTS}class Model:\n    pass\n", ["has no Predictor; it has "]),
    "not callable": ("Predictor = 3\n", ["is neither a class nor a function"]),
}


def test_every_mistake_is_named(any_python: str, inspect_models: Any, tmp_path: Path) -> None:
    files = []
    for number, (source, _) in enumerate(REFUSED.values()):
        file = tmp_path / f"model_{number}.py"
        file.write_text(source)
        files.append(str(file))
    assert len(REFUSED) >= 55
    found = inspect_models(any_python, schemas=files)["schemas"]
    for (name, (source, expected)), answer in zip(REFUSED.items(), found, strict=True):
        assert "refused" in answer, name
        texts = [text for _, text in answer["mistakes"]] or [answer["refused"]]
        assert len(texts) == len(expected), (name, texts)
        for part in expected:
            assert any(part in text for text in texts), (name, part, texts)
        assert not any("12345" in text for text in texts), name
        for line, _ in answer["mistakes"]:
            if line:
                assert source.splitlines()[line - 1].strip() in answer["refused"], name


def test_the_readme_example_as_it_is_shown(inspect_models: Any, tmp_path: Path) -> None:
    file = tmp_path / "predict.py"
    file.write_text(
        "from cog import BasePredictor, Input\n\n\nclass Predictor(BasePredictor):\n"
        '    def predict(self, n=Input(default="how many", ge=1, le=100)) -> str:\n        return "ok" * n\n'
    )
    import sys

    (answer,) = inspect_models(sys.executable, schemas=[str(file)])["schemas"]
    assert answer["refused"].splitlines() == [
        "predict.py:5: missing type annotation for input n, as in `n: str`",
        "predict.py:5: default='how many' conflicts with ge=1, le=100: it is not a number: n",
        '     5 | def predict(self, n=Input(default="how many", ge=1, le=100)) -> str:',
    ]


def test_a_mistake_is_shown_at_its_own_line(inspect_models: Any, tmp_path: Path) -> None:
    import sys

    file = tmp_path / "predict.py"
    file.write_text(
        f"{IMPORTS}def note(f):\n    return f\n\n\nclass Predictor:\n    @note\n    def predict(\n"
        "        self,\n        a: int,\n        b,\n    ) -> (\n        None\n    ):\n        pass\n"
    )
    (answer,) = inspect_models(sys.executable, schemas=[str(file)])["schemas"]
    lines = file.read_text().splitlines()
    shown = {lines[line - 1].strip() for line, _ in answer["mistakes"]}
    assert shown == {"b,", "None"}
