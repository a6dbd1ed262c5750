"""Runs in the Python under test, with nothing but the runtime on its path: uses ``BaseModel``."""

import copy
import dataclasses
import datetime
import enum
import json
import pickle
import sys
from typing import Any, Callable, ClassVar, Dict, Generic, List, NamedTuple, Optional, Set, TypeVar

from cog import BaseModel, Input, Path, Secret


def raises(kind, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"{function} did not raise {kind}")


class Inner(BaseModel):
    n: int = 1


class Output(BaseModel):
    tags: List[str] = []
    text: str
    note: Optional[str]
    inner: Inner = Inner(2)
    json: str = "j"
    many: Dict[str, List[Inner]] = {}


class Named(BaseModel):
    json: str
    dict: int


class Base(BaseModel):
    a: int
    b: int = 2


class Derived(Base):
    c: int
    a: int = 5


class Maybe(BaseModel):
    x: Optional[int]


class Same(Maybe):
    """Adds no field: a Python before 3.10 shows it those of its base."""


class Plain(BaseModel, auto_dataclass=False):
    x: int

    def __init__(self, x):
        self.x = x


class Frozen(BaseModel, frozen=True):
    x: int


class Checked(BaseModel):
    x: int

    def __post_init__(self):
        self.double = self.x * 2


def fields():
    one, two = Output(text="a"), Output(["t"], "b", note="n")
    one.tags.append("x")
    one.inner.n = 7
    assert (two.tags, Output(text="c").tags, Output(text="c").inner) == (["t"], [], Inner(2))
    assert (one.note, one.json) == (None, "j")
    assert repr(Inner()) == "Inner(n=1)"
    assert Inner(1) == Inner() != Inner(2)
    named = Named(json="x", dict=1)
    assert (named.json, named.dict, named.model_dump()) == ("x", 1, {"json": "x", "dict": 1})
    assert "Named() needs a value for json, dict" in raises(TypeError, Named)
    assert "has no field 'z'; it has a, b" in raises(TypeError, Base, z=1)
    assert "takes 2 values, but 3 were given" in raises(TypeError, Base, 1, 2, 3)
    assert "got 'a' twice" in raises(TypeError, Base, 1, a=2)
    assert copy.deepcopy(two) == pickle.loads(pickle.dumps(two)) == two


def inheritance():
    derived = Derived(c=1)
    assert (derived.a, derived.b, derived.c) == (5, 2, 1)
    assert Derived(1, 2, 3) == Derived(a=1, b=2, c=3)
    assert (Same().x, Same(x=1).x) == (None, 1)
    item = TypeVar("item")

    class Of(BaseModel, Generic[item]):
        x: item

    assert Of[int](x=1).x == 1


def class_keywords():
    assert Plain(3).x == 3
    assert Plain(3).dict() == {"x": 3}
    assert "cannot assign" in raises(AttributeError, setattr, Frozen(x=1), "x", 2)
    assert hash(Frozen(x=1)) == hash(Frozen(x=1))
    assert "unhashable" in raises(TypeError, hash, Inner())
    assert Checked(x=2).double == 4

    class Ordered(BaseModel, order=True, repr=False, slots=True):
        x: int

    assert Ordered(1) < Ordered(2)
    assert "x=1" not in repr(Ordered(1))

    class Own(BaseModel, init=False):
        x: int = 1

    assert Own().x == 1
    assert raises(TypeError, Own, x=2)

    class Written(BaseModel):
        x: int

        def __init__(self, text):
            self.x = int(text)

    assert Written("3").x == 3
    if sys.version_info >= (3, 10):

        class ByName(BaseModel, kw_only=True):
            x: int
            y: int = 2

        assert ByName(x=1).y == 2
        assert "takes 0 values by place, but 1 were given" in raises(TypeError, ByName, 1)


def defaults():
    class Described(BaseModel):
        a: int = Input(description="what")
        b: List[int] = Input(default=[1])
        c: Optional[int] = Input(description="what")
        d: List[int] = Input(default_factory=list)
        e: List[int] = dataclasses.field(default_factory=list)
        f: int = dataclasses.field(default=7, init=False)

    described = Described(a=1)
    described.b.append(2)
    assert described.dict() == {"a": 1, "b": [1, 2], "c": None, "d": [], "e": [], "f": 7}
    assert Described(a=1).b == [1]
    assert "Described() needs a value for a" in raises(TypeError, Described)
    assert "has no field 'f'" in raises(TypeError, Described, a=1, f=1)

    class Special(BaseModel):
        shared: ClassVar[Dict[str, int]] = {}
        named: "ClassVar[Optional[int]]"
        call: Callable[..., None]
        scale: dataclasses.InitVar[int]
        next: "Optional[Special]"
        later: "Optional[NotThere]"  # noqa: F821 - of a name that cannot be found
        new: "int | None"

        def __post_init__(self, scale):
            self.scaled = scale * 2

    special = Special(call=print, scale=2)
    assert special.dict() == {"call": print, "next": None, "later": None, "new": None}
    assert special.scaled == 4
    assert Special.shared is special.shared
    assert "needs a value for call, scale" in raises(TypeError, Special)


class Kind(enum.Enum):
    A = "a"


class Pair(NamedTuple):
    left: int
    right: Inner


@dataclasses.dataclass
class Record:
    inner: Inner


class Everything(BaseModel):
    kind: Kind = Kind.A
    at: datetime.date = datetime.date(2020, 1, 2)
    path: Path = Path("/a/b")
    key: Secret = Secret("hush")
    numbers: Set[int] = {1}
    frozen: Set[Frozen] = {Frozen(1)}
    pair: Pair = Pair(1, Inner(2))
    record: Record = Record(Inner(3))
    nothing: Optional[Any] = None


def dumps():
    nested = Output(text="a", many={"k": [Inner(3)]})
    assert nested.dict() == nested.model_dump()
    assert nested.model_dump()["many"] == {"k": [{"n": 3}]}
    assert json.loads(nested.model_dump_json()) == nested.dict()
    assert nested.dict(include={"text", "note"}) == {"text": "a", "note": None}
    assert nested.dict(include={"text", "note"}, exclude_none=True) == {"text": "a"}
    assert set(nested.dict(exclude=["text", "note", "many"])) == {"tags", "inner", "json"}
    assert Inner().json(indent=1) == '{\n "n": 1\n}'
    everything = Everything()
    dumped = everything.dict()
    assert (dumped["kind"], dumped["key"], dumped["numbers"]) == (Kind.A, Secret("hush"), {1})
    assert (dumped["pair"], dumped["record"]) == (Pair(1, {"n": 2}), {"inner": {"n": 3}})
    assert json.loads(everything.json()) == {
        "kind": "a",
        "at": "2020-01-02",
        "path": "/a/b",
        "key": "**********",
        "numbers": [1],
        "frozen": [{"x": 1}],
        "pair": [1, {"n": 2}],
        "record": {"inner": {"n": 3}},
        "nothing": None,
    }
    assert "hush" not in everything.json()


fields()
inheritance()
class_keywords()
defaults()
dumps()
print("all used")
