"""Runs in the Python under test, with nothing but the runtime on its path: uses every name of the author API."""

import io
import json
import os
import pathlib
import pickle
import sys
import tempfile
import warnings
from typing import Any, Dict, List, Optional

before = set(sys.modules)
import cog  # noqa: E402

LIGHT = {"dataclasses", "urllib.request", "tempfile", "inspect", "asyncio"} - before
assert not LIGHT & set(sys.modules), LIGHT & set(sys.modules)

import cog.base_predictor  # noqa: E402
import cog.coder.dataclass_coder  # noqa: E402
import cog.coder.json_coder  # noqa: E402
import cog.coder.pydantic_coder  # noqa: E402
import cog.coder.set_coder  # noqa: E402
import cog.command.call_graph  # noqa: E402
import cog.errors  # noqa: E402
import cog.ext  # noqa: E402
import cog.files  # noqa: E402
import cog.json  # noqa: E402
import cog.logging  # noqa: E402
import cog.mode  # noqa: E402
import cog.server.exceptions  # noqa: E402
import cog.server.scope  # noqa: E402
import cog.suppress_output  # noqa: E402
import cog.types  # noqa: E402
from cog import BaseModel, Coder, Path, Secret, URLFile, URLPath  # noqa: E402


def raises(kind, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"{function} did not raise {kind}")


def names():
    for name in cog.__all__:
        assert getattr(cog, name) is not None, name
    assert cog.base_predictor.BasePredictor is cog.BasePredictor
    assert cog.types.Path is Path
    assert cog.types.URLPath is URLPath
    assert cog.coder.Coder is Coder
    assert cog.server.exceptions.CancelationException is cog.CancelationException
    assert not issubclass(cog.CancelationException, Exception)
    assert issubclass(cog.server.exceptions.FatalWorkerException, Exception)
    assert cog.server.scope.current_scope is cog.current_scope
    assert issubclass(cog.errors.ConfigDoesNotExist, cog.errors.CogError)
    assert str(cog.mode.Mode.TRAIN) == "train"
    assert issubclass(cog.ExperimentalFeatureWarning, Warning)
    warnings.simplefilter("ignore", cog.ExperimentalFeatureWarning)
    assert "no attribute" in raises(AttributeError, lambda: cog.no_such_name)
    assert "no attribute" in raises(AttributeError, lambda: cog.types.no_such_name)


def secrets():
    secret = Secret("hush")
    assert (str(secret), repr(secret), secret.get_secret_value()) == (
        "**********",
        "Secret('**********')",
        "hush",
    )
    assert (len(secret), len(Secret(None)), str(Secret())) == (4, 0, "")
    assert secret == Secret("hush") != Secret("other")
    assert {secret: 1}[Secret("hush")] == 1


def scope():
    scope = cog.current_scope()
    scope.record_metric("a", 1)
    scope.metrics["a"] = 1
    del scope.metrics["a"]
    scope.metrics.delete("a")
    cog.emit_metric("a", 1)
    assert scope.context == {}
    assert "mode is 'odd'" in raises(ValueError, scope.record_metric, "a", 1, mode="odd")

    class Model(cog.BaseRunner):
        pass

    Model().record_metric("a", 1)
    assert Model().scope is scope
    assert Model().setup() is None


def decorators():
    @cog.streaming
    @cog.concurrent(max=2)
    async def predict():
        pass

    @cog.streaming()
    def other():
        pass

    assert predict.__cog_streaming__ is other.__cog_streaming__ is True
    assert predict.__cog_concurrency__ == 2
    assert "max is a whole number" in raises(ValueError, cog.concurrent, max=0)
    assert "max is a whole number" in raises(ValueError, cog.concurrent, max=True)
    assert "needs an `async def other`" in raises(TypeError, cog.concurrent(max=2), other)
    assert cog.concurrent(max=1)(other) is other


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


def models():
    one, two = Output(text="a"), Output(["t"], "b", note="n")
    one.tags.append("x")
    one.inner.n = 7
    assert (two.tags, Output(text="c").tags, Output(text="c").inner) == (["t"], [], Inner(2))
    assert (one.note, one.json) == (None, "j")
    assert repr(Inner()) == "Inner(n=1)"
    assert Inner(1) == Inner() != Inner(2)
    nested = Output(text="a", many={"k": [Inner(3)]})
    assert nested.dict() == nested.model_dump()
    assert nested.model_dump()["many"] == {"k": [{"n": 3}]}
    assert json.loads(nested.model_dump_json()) == nested.dict()
    named = Named(json="x", dict=1)
    assert (named.json, named.dict) == ("x", 1)
    assert "Named() needs a value for json, dict" in raises(TypeError, Named)
    derived = Derived(c=1)
    assert (derived.a, derived.b, derived.c) == (5, 2, 1)
    assert Derived(1, 2, 3) == Derived(a=1, b=2, c=3)
    assert Plain(3).x == 3
    assert "cannot assign" in raises(AttributeError, setattr, Frozen(x=1), "x", 2)
    assert hash(Frozen(x=1)) == hash(Frozen(x=1))
    assert Checked(x=2).double == 4
    assert "has no field 'z'; it has a, b" in raises(TypeError, Base, z=1)
    assert "takes 2 values, but 3 were given" in raises(TypeError, Base, 1, 2, 3)
    assert "got 'a' twice" in raises(TypeError, Base, 1, a=2)


def coders():
    class Point:
        def __init__(self, x):
            self.x = x

    class PointCoder(Coder):
        @staticmethod
        def factory(tpe):
            return PointCoder() if tpe is Point else None

        def encode(self, x):
            return {"x": x.x}

        def decode(self, x):
            return Point(x["x"])

    assert Coder.lookup(Point) is None
    Coder.register(PointCoder)
    Coder.register(PointCoder)
    found = Coder.lookup(Point)
    assert isinstance(found, PointCoder)
    assert found.decode(found.encode(Point(3))).x == 3
    dataclass_coder = Coder.lookup(Inner)
    assert dataclass_coder.decode(dataclass_coder.encode(Inner(4))) == Inner(4)
    set_coder = Coder.lookup(set)
    assert set_coder.decode(set_coder.encode({1})) == {1}
    json_coder = Coder.lookup(dict)
    assert json_coder.decode(json_coder.encode({"a": 1})) == {"a": 1}
    assert isinstance(json_coder, cog.coder.json_coder.JsonCoder)

    class Like:
        __fields__ = ()

        def __init__(self, **fields):
            self.fields = fields

        @classmethod
        def parse_obj(cls, given):
            return cls(**given)

        def dict(self):
            return self.fields

    pydantic_coder = Coder.lookup(Like)
    assert isinstance(pydantic_coder, cog.coder.pydantic_coder.BaseModelCoder)
    assert pydantic_coder.encode(pydantic_coder.decode({"a": 1})) == {"a": 1}


def files(folder):
    local = Path(folder) / "a.txt"
    assert isinstance(local, pathlib.PosixPath)
    local.write_text("text")
    assert Path.validate(str(local)).read_text() == "text"
    with cog.File.validate(str(local)) as file:
        assert file.read() == b"text"
    memory = io.BytesIO(b"m")
    assert cog.File.validate(memory) is memory

    url = "file:///nothing"
    data = "data:text/plain;base64,YWJj"
    with cog.File.validate(data) as remote:
        assert isinstance(remote, URLFile)
        assert remote.readable()
        assert pickle.loads(pickle.dumps(remote)).read() == b"abc"
        assert (remote.read(2), remote.read(), remote.read()) == (b"ab", b"c", b"")
    assert list(URLFile("data:,a%0Ab")) == [b"a\n", b"b"]
    assert URLFile("data:,a%0Ab").readline() == b"a\n"
    assert URLFile(data).status is None
    assert "URLFile" in repr(URLFile(data, filename="named.txt"))
    raises(OSError, URLFile(url).read)

    path = Path.validate(data)
    assert isinstance(path, URLPath)
    assert (str(path), path.name, path.suffix) == (data, "file.txt", ".txt")
    with open(path) as opened:
        assert opened.read() == "abc"
    assert path.convert() is path.convert()
    assert path.convert().read_text() == "abc"
    assert (str(path.parent), os.fspath(path.with_name("b.txt"))) == (".", "b.txt")
    copy = path.convert()
    path.unlink()
    path.unlink(missing_ok=True)
    assert not copy.exists()

    assert cog.types.get_filename("https://h/a/b%20c.png?x=1") == "b c.png"
    assert cog.types.get_filename("https://h/") == "file"
    assert len(cog.types.get_filename("https://h/" + "é" * 300 + ".png").encode()) <= 200
    assert cog.files.guess_filename(memory) == "file"
    with local.open("rb") as file:
        assert cog.files.upload_file(file) == "data:text/plain;base64,dGV4dA=="
    assert cog.files.ensure_trailing_slash("a") == cog.files.ensure_trailing_slash("a/") == "a/"
    encoded = cog.json.make_encodeable({"m": Inner(1), "p": local, "s": {1}, "mode": cog.mode.Mode.PREDICT})
    assert encoded == {"m": {"n": 1}, "p": pathlib.Path(local), "s": [1], "mode": "predict"}
    assert cog.json.upload_files([encoded["p"], "x"], lambda file: file.read().decode()) == ["text", "x"]

    with cog.suppress_output.suppress_output():
        os.system("echo not to be seen")
        print("nor this")
    cog.logging.setup_logging()

    pipeline = Path(folder) / "pipeline.py"
    pipeline.write_text("import replicate as r\nb = r.use('o/b')\na = r.use('o/a')\n")
    assert cog.command.call_graph.analyze_python_file(str(pipeline)) == ["o/b", "o/a"]
    pipeline.write_text("from replicate import use\ndef f():\n    use('o/b')\n")
    assert "must be in the global scope" in raises(
        ValueError, cog.command.call_graph.analyze_python_file, str(pipeline)
    )
    pipeline.write_text("from replicate import use\nuse(name)\n")
    assert "must be a plain string" in raises(
        ValueError, cog.command.call_graph.analyze_python_file, str(pipeline)
    )


def inputs():
    info = cog.Input(default_factory=list, accept=[".wav"], choices={"a": 1, "b": 2}.keys())
    assert isinstance(info, cog.FieldInfo)
    assert (info.default_factory, info.accept, info.choices) == (list, [".wav"], ["a", "b"])
    assert repr(cog.Opaque) == "Opaque"
    anything: Any = cog.Input(...)
    assert anything.default is cog.Input().default


names()
secrets()
scope()
decorators()
models()
coders()
inputs()
with tempfile.TemporaryDirectory() as scratch:
    files(scratch)
print("all used")
