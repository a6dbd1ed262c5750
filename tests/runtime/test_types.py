"""Values of every type that an input may have and an output may be, in each Python of this machine."""

from pathlib import Path
from typing import Any

SOURCE = """\
import enum
from dataclasses import dataclass, field
from typing import *
from cog import *

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"

class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2

@dataclass
class Point:
    x: float
    y: float = 0.5
    tags: List[str] = field(default_factory=list)

    def __post_init__(self):
        if self.x > 100:
            raise ValueError("x is beyond the edge")

class Message(TypedDict):
    role: str
    at: Optional[Point]

class Options(TypedDict, total=False):
    n: int

class Span(NamedTuple):
    start: int
    end: int = 10

made = []

def make():
    made.append(1)
    return made

class Predictor:
    def predict(
        self,
        union: Union[int, str] = 0,
        words: Union[str, List[str]] = "",
        number: Union[int, float] = 0,
        colour: Colour = Colour.RED,
        size: Size = Size.SMALL,
        colours: List[Colour] = [Colour.BLUE],
        some: Colour = Input(default=Colour.RED, choices=[Colour.RED, Colour.GREEN]),
        mixed: Literal["auto", 1, True] = "auto",
        matrix: List[List[int]] = [],
        holes: List[Optional[int]] = [],
        maybe: Optional[List[str]] = None,
        bounded: List[Optional[int]] = Input(default=[], ge=0),
        names: Dict[str, int] = {},
        numbers: Dict[int, str] = {},
        tags: Set[str] = set(),
        pair: Tuple[int, str] = (1, "a"),
        many: Tuple[float, ...] = (),
        point: Point = Point(1.0),
        points: List[Point] = [],
        message: Message = {"role": "user", "at": None},
        options: Options = {},
        span: Span = Span(1),
        anything: Any = None,
        bare: list = [],
        made: List[int] = Input(default_factory=make),
        path: Optional[Path] = None,
        file: Optional[File] = None,
    ) -> str:
        return ""
"""

TAKEN: list[tuple[Any, str, str]] = [
    (5, "union", "5"),
    ("5", "union", "'5'"),
    (2.0, "union", "2"),
    ("a", "words", "'a'"),
    (["a"], "words", "['a']"),
    (2.5, "number", "2.5"),
    (2, "number", "2"),
    ("blue", "colour", "<Colour.BLUE: 'blue'>"),
    (2, "size", "<Size.LARGE: 2>"),
    ("2", "size", "<Size.LARGE: 2>"),
    (["red"], "colours", "[<Colour.RED: 'red'>]"),
    ("auto", "mixed", "'auto'"),
    (1, "mixed", "1"),
    (True, "mixed", "True"),
    ([[1, "2"], []], "matrix", "[[1, 2], []]"),
    ([1, None], "holes", "[1, None]"),
    (None, "maybe", "None"),
    (["a"], "maybe", "['a']"),
    ([None, 3], "bounded", "[None, 3]"),
    ({"a": 1.0}, "names", "{'a': 1}"),
    ({"7": "a"}, "numbers", "{7: 'a'}"),
    (["a", "a"], "tags", "{'a'}"),
    ({"items": ["a"]}, "tags", "{'a'}"),
    ([2, "b"], "pair", "(2, 'b')"),
    ([1, "2"], "many", "(1.0, 2.0)"),
    ({"x": 1}, "point", "Point(x=1.0, y=0.5, tags=[])"),
    ({"x": 1, "y": "2", "tags": ["a"], "more": 1}, "point", "Point(x=1.0, y=2.0, tags=['a'])"),
    ([{"x": 1}], "points", "[Point(x=1.0, y=0.5, tags=[])]"),
    ({"role": "a"}, "message", "{'role': 'a', 'at': None}"),
    ({"role": "a", "at": {"x": 2}}, "message", "{'role': 'a', 'at': Point(x=2.0, y=0.5, tags=[])}"),
    ({}, "options", "{}"),
    ({"n": 2}, "options", "{'n': 2}"),
    ({"start": 3}, "span", "Span(start=3, end=10)"),
    ([{"a": None}], "anything", "[{'a': None}]"),
    (None, "anything", "None"),
    ([1, "a", None], "bare", "[1, 'a', None]"),
    (".", "path", "Path('.')"),
]

OMITTED = {
    "union": "0",
    "colour": "<Colour.RED: 'red'>",
    "size": "<Size.SMALL: 1>",
    "colours": "[<Colour.BLUE: 'blue'>]",
    "tags": "set()",
    "pair": "(1, 'a')",
    "point": "Point(x=1.0, y=0.5, tags=[])",
    "message": "{'role': 'user', 'at': None}",
    "span": "Span(start=1, end=10)",
    "maybe": "None",
    "path": "None",
}

NOT_TAKEN: list[tuple[Any, str, str]] = [
    (
        [1],
        "union",
        "fits none of Union[int, str]: must be an integer, not a list; must be a string, not a list",
    ),
    ([1], "words", "fits none of Union[str, list[str]]: element 0 must be a string, not an integer"),
    ("violet", "colour", "must be one of 'red', 'blue', 'green'"),
    (None, "colour", "must not be null"),
    (5, "size", "must be one of 1, 2"),
    ("RED", "colour", "must be one of 'red', 'blue', 'green'"),
    (["red", "violet"], "colours", "element 1 must be one of 'red', 'blue', 'green'"),
    ("blue", "some", "must be one of 'red', 'green'"),
    (2, "mixed", "must be one of 'auto', 1, True"),
    ([[1, "a"]], "matrix", "element 0 element 1 must be an integer, not a string"),
    ([1], "matrix", "element 0 must be a list, not an integer"),
    (["a"], "holes", "element 0 must be an integer, not a string"),
    ([1, -1], "bounded", "element 1 must be at least 0"),
    ([], "names", "must be an object, not a list"),
    ({"a": "b"}, "names", "member 'a' must be an integer, not a string"),
    ({"a": "b"}, "numbers", "has a key that must be an integer, not a string"),
    ("a", "tags", "must be a list, not a string"),
    ([1], "pair", "must have 2 elements, not 1"),
    (["a", "b"], "pair", "element 0 must be an integer, not a string"),
    ({}, "point", "field x is required"),
    ({"x": "s3cret"}, "point", "field x must be a number, not a string"),
    ({"x": 101}, "point", "is not taken by Point: x is beyond the edge"),
    ([{"x": 1}, 5], "points", "element 1 must be an object, not an integer"),
    ({"at": None}, "message", "field role is required"),
    ({"role": "a", "at": {}}, "message", "field at field x is required"),
    ({"n": "a"}, "options", "field n must be an integer, not a string"),
    ({"end": 1}, "span", "field start is required"),
    ("/no/such", "file", "there is no such file"),
    (".", "file", "cannot be opened: Is a directory"),
]


LOCAL = """\
from __future__ import annotations
import dataclasses, enum
from typing import *
from cog import *

def make():
    class Item(BaseModel):
        n: int
        rest: Optional[List[Item]]

    @dataclasses.dataclass
    class Output:
        items: List[Item]
        size: str
        later: Optional[Later] = None

    class Made(BasePredictor):
        class Size(str, enum.Enum):
            SMALL = "s"
            LARGE = "l"

        def list(self): ...

        def predict(self, size: Size, words: "List[str]" = []) -> Output:
            return Output([Item(n=1, rest=[Item(n=len(words))])], f"{size.name} {words}")

    return Made

@dataclasses.dataclass
class Later:
    x: int

Predictor = make()
"""


def test_annotations_are_strings_of_local_names(any_python: str, inspect_models: Any, tmp_path: Path) -> None:
    model = tmp_path / "local.py"
    model.write_text(LOCAL)
    found = inspect_models(
        any_python, schemas=[str(model)], outputs=[[str(model), {"size": "s", "words": ["a"]}]]
    )
    assert "document" in found["schemas"][0], found["schemas"][0]
    items = [{"n": 1, "rest": [{"n": 1, "rest": None}]}]
    assert found["outputs"][0]["output"] == {"items": items, "size": "SMALL ['a']", "later": None}


def test_inputs(any_python: str, inspect_models: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(SOURCE)
    asked = [[str(model), {name: value}] for value, name, _ in [*TAKEN, *NOT_TAKEN]]
    found = inspect_models(any_python, inputs=[[str(model), {}], [str(model), {}], *asked])
    first, second, *answers = found["inputs"]
    for name, expected in OMITTED.items():
        assert first["arguments"][name] == expected, name
    # One call when the model was loaded, and one for each prediction.
    assert (first["arguments"]["made"], second["arguments"]["made"]) == ("[1, 1]", "[1, 1, 1]")
    for (value, name, expected), answer in zip(TAKEN, answers[: len(TAKEN)], strict=True):
        assert answer.get("arguments", answer)[name] == expected, (name, value)
    for (value, name, expected), answer in zip(NOT_TAKEN, answers[len(TAKEN) :], strict=True):
        assert answer["reasons"][name].startswith(expected), (name, value, answer)
        assert "s3cret" not in str(answer)


OUTPUTS = """\
import collections, datetime, decimal, enum, io, ipaddress, re, uuid
from dataclasses import dataclass
from typing import *
from cog import *

class Colour(enum.Enum):
    RED = "red"

class Answer(TypedDict):
    text: str
    picture: Path

@dataclass
class Box:
    picture: Path
    others: List[Path]
    note: Optional[str] = None

@dataclass
class Login:
    KIND: ClassVar[str] = "of the class"
    token: Secret

def file(name):
    Path(name).write_text(name)
    return Path(name)

class Predictor:
    def predict(self, do: str) -> Any:
        return CASES[do]()

CASES = {
    "decimal": lambda: [decimal.Decimal("1.5"), uuid.UUID(int=1), datetime.timedelta(seconds=90)],
    "dates": lambda: [datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 3, 4)],
    "address": lambda: [ipaddress.ip_address("127.0.0.1"), re.compile("a+").pattern],
    "set": lambda: {"a"},
    "deque": lambda: collections.deque([1, 2]),
    "named": lambda: collections.namedtuple("Pair", "a b")(1, Colour.RED),
    "box": lambda: Box(file("a.txt"), [file("b.txt"), file("c.txt")]),
    "ordered": lambda: collections.OrderedDict([("b", file("a.txt")), ("a", {"x/y": [file("b.txt")]})]),
    "login": lambda: Login(Secret("hush hush")),
    "generator": lambda: (i for i in range(3)),
    "object": lambda: object(),
    "keys": lambda: {1.5: 1, None: 2, True: 3, 7: 4, Colour.RED: 5},
    "key": lambda: {("a", "b"): 1},
    "nan": lambda: {"a": [float("inf")]},
    "huge": lambda: 2 ** 80,
    "stringio": lambda: [io.StringIO("text"), io.BytesIO(b"bytes")],
    "missing": lambda: {"a": [Path("no-such-file")]},
    "folder": lambda: Path("."),
}
"""

ENCODED: dict[str, tuple[Any, list[list[str]]]] = {
    "decimal": ([1.5, "00000000-0000-0000-0000-000000000001", 90.0], []),
    "dates": (["2024-01-02", "2024-01-02T03:04:00"], []),
    "address": (["127.0.0.1", "a+"], []),
    "set": (["a"], []),
    "deque": ([1, 2], []),
    "named": ({"a": 1, "b": "red"}, []),
    "box": (
        {"picture": None, "others": [None, None], "note": None},
        [["/picture", "a.txt"], ["/others/0", "b.txt"], ["/others/1", "c.txt"]],
    ),
    "ordered": ({"b": None, "a": {"x/y": [None]}}, [["/b", "a.txt"], ["/a/x~1y/0", "b.txt"]]),
    "login": ({"token": "**********"}, []),
    "generator": ([0, 1, 2], []),
    "keys": ({"1.5": 1, "null": 2, "true": 3, "7": 4, "red": 5}, []),
    "stringio": ([None, None], [["/0", "output"], ["/1", "output"]]),
}

NOT_ENCODED = {
    "object": "output: builtins.object has no form in JSON",
    "key": "output: a key is tuple, not str",
    "nan": "output/a/0: inf is not a number in JSON",
    "huge": "output: the integer does not fit into 64 bits",
    "missing": "output/a/0: the output file cannot be read",
    "folder": "output: the output file cannot be read",
}

TYPED = """\
import datetime, decimal, uuid
from typing import *
from cog import *
from dataclasses import dataclass

@dataclass
class Box:
    picture: Path
    size: int

@dataclass
class Dated:
    at: datetime.datetime
    id: uuid.UUID
    day: Optional[datetime.date] = None

class Predictor:
    def predict(self, v: Any) -> {annotation}:
        return {value}
"""

HELD: list[tuple[str, str, Any, Any]] = [
    ("Union[int, List[str]]", "v", 5, 5),
    ("Union[int, List[str]]", "v", ["a"], ["a"]),
    (
        "Union[int, List[str]]",
        "v",
        {"a": 1},
        "output: expected Union[int, list[str]], as predict() is annotated",
    ),
    ("Union[List[Path], str]", "v", "text", "text"),
    ("Union[Path, str]", "v", "text", "text"),
    ("Union[str, Path]", "Path(__file__)", None, None),
    (
        "Dict[str, Union[Path, str, List[Path]]]",
        "{'a': 'b', 'c': [Path(__file__)]}",
        1,
        {"a": "b", "c": [None]},
    ),
    ("List[str]", "['a', Path(__file__)]", None, ["a", None]),
    ("int", "Path(__file__)", None, "output: got the file Path where predict() is annotated otherwise"),
    ("Path", "v", "https://example.com/a.png", "https://example.com/a.png"),
    ("List[Path]", "[v, Path(__file__)]", "data:,a", ["data:,a", None]),
    ("Path", "v", "a.png", "output: expected Path, as predict() is annotated"),
    ("Set[int]", "{3, 1, 2}", None, [1, 2, 3]),
    ("Tuple[int, str]", "tuple(v)", [1, "a"], [1, "a"]),
    ("Tuple[int, str]", "tuple(v)", [1], "output: expected tuple[int, str], as predict() is annotated"),
    ("Dict[str, List[int]]", "v", {"a": [1]}, {"a": [1]}),
    ("Dict[str, List[int]]", "v", {"a": ["b"]}, "output/a/0: expected int, as predict() is annotated"),
    ("Optional[str]", "v", None, None),
    ("Optional[str]", "v", "a", "a"),
    ("Optional[str]", "v", 5, "output: expected str, as predict() is annotated"),
    ("Literal['a', 'b']", "v", "a", "a"),
    ("Literal['a', 'b']", "v", "c", "output: must be one of 'a', 'b'"),
    ("Box", "v", {"size": 1}, "output/picture: is missing"),
    ("Box", "v", {"size": 1, "picture": "a"}, "output/picture: expected Path, as predict() is annotated"),
    ("Box", "v", {"size": None, "picture": None}, "output/size: expected a value"),
    (
        "Dated",
        "Dated(datetime.datetime(2024, 1, 2, 3, 4), uuid.UUID(int=1))",
        None,
        {"at": "2024-01-02T03:04:00", "id": "00000000-0000-0000-0000-000000000001", "day": None},
    ),
    ("datetime.timedelta", "datetime.timedelta(seconds=90)", None, 90.0),
    ("decimal.Decimal", "decimal.Decimal('1.5')", None, 1.5),
    ("datetime.date", "v", "2024-01-02", "2024-01-02"),
    ("datetime.date", "v", 5, "output: expected date, as predict() is annotated, but got int"),
    ("object", "v", {"a": [1]}, {"a": [1]}),
    ("List[List[float]]", "v", [[1], [2.5]], [[1.0], [2.5]]),
    ("int", "True", None, 1),
    ("int", "2.0", None, 2),
    ("int", "2.5", None, "output: expected int, as predict() is annotated"),
    ("Secret", "v", "hush hush", "**********"),
    ("List[Secret]", "[Secret('hush hush')]", None, ["**********"]),
]


def test_outputs(any_python: str, inspect_models: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(OUTPUTS)
    asked = [[str(model), {"do": do}] for do in [*ENCODED, *NOT_ENCODED]]
    typed = []
    for number, (annotation, value, given, _) in enumerate(HELD):
        file = tmp_path / f"typed_{number}.py"
        file.write_text(TYPED.format(annotation=annotation, value=value))
        typed.append([str(file), {"v": given}])
    answers = inspect_models(any_python, outputs=[*asked, *typed])["outputs"]
    for (do, (output, files)), answer in zip(ENCODED.items(), answers[: len(ENCODED)], strict=True):
        assert answer == {"output": output, "files": files}, do
    refused = answers[len(ENCODED) : len(asked)]
    for (do, reason), answer in zip(NOT_ENCODED.items(), refused, strict=True):
        assert answer["refused"].startswith(reason), do
    for case, answer in zip(HELD, answers[len(asked) :], strict=True):
        if isinstance(case[3], str) and case[3].startswith("output"):
            assert str(answer.get("refused")).startswith(case[3]), (case, answer)
        else:
            assert answer["output"] == case[3], (case, answer)
