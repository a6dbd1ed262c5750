"""Runs in the Python under test, with nothing but the runtime on its path: uses every name of the author API."""

import sys

before = set(sys.modules)
import cog  # noqa: E402 - first, so that what else is imported here does not hide what it imports

HEAVY = {"dataclasses", "urllib.request", "tempfile", "inspect", "asyncio", "json", "http.client", "logging"}
assert not before & HEAVY, before & HEAVY
assert not HEAVY & set(sys.modules), HEAVY & set(sys.modules)

import dataclasses  # noqa: E402
import io  # noqa: E402
import os  # noqa: E402
import pathlib  # noqa: E402
import tempfile  # noqa: E402
import warnings  # noqa: E402
from typing import Any, Dict, List, Optional  # noqa: E402

import cog.base_predictor  # noqa: E402
import cog.coder.dataclass_coder  # noqa: E402
import cog.coder.json_coder  # noqa: E402
import cog.coder.pydantic_coder  # noqa: E402
import cog.coder.set_coder  # noqa: E402
import cog.command.call_graph  # noqa: E402
import cog.errors  # noqa: E402
import cog.ext  # noqa: E402
import cog.files  # noqa: E402
import cog.input  # noqa: E402
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
    assert cog.types.URLFile is URLFile
    assert cog.types.Input is cog.input.Input is cog.Input
    assert cog.input.FieldInfo is cog.FieldInfo
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
    assert Secret(secret_value="hush").secret_value == "hush"
    assert Secret.validate(secret) is secret
    assert Secret.validate("hush") == secret
    assert "must be a string, not list" in raises(ValueError, Secret.validate, ["hush"])


def scope():
    scope = cog.current_scope()
    scope.record_metric("a", 1)
    scope.metrics["a"] = 1
    del scope.metrics["a"]
    scope.metrics.delete("a")
    cog.emit_metric("a", 1)
    assert scope.context == {}
    assert "mode is 'odd'" in raises(ValueError, scope.record_metric, "a", 1, mode="odd")

    recorded = []
    given = cog.Scope(lambda *metric: recorded.append(metric), {"id": "a"})
    with cog.server.scope.scope(given):
        assert cog.current_scope() is given
        with cog.server.scope.evolve_scope(context={"id": "b"}):
            assert cog.current_scope().context == {"id": "b"}
            cog.current_scope().record_metric("n", 1, mode="incr")
        with cog.server.scope.evolve_scope(record_metric=lambda key, value: recorded.append((key, value))):
            assert cog.current_scope().context == {"id": "a"}
            cog.emit_metric("m", 2)
    assert recorded == [("n", 1, "incr"), ("m", 2)]
    assert cog.current_scope() is scope

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
    assert cog.concurrent(max=1)(other) is cog.concurrent()(other) is cog.concurrent(other) is other
    assert other.__cog_concurrency__ == 1
    assert "write @concurrent(max=N)" in raises(TypeError, cog.concurrent, 3)


class Inner(BaseModel):
    n: int = 1


class Outer(BaseModel):
    one: Optional[Inner]
    many: List[Inner]
    named: Dict[str, Inner]
    late: int = dataclasses.field(default=0, init=False)


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
    outer = Outer(one=Inner(2), many=[Inner(3)], named={"a": Inner(4)})
    encoded = Coder.lookup(Outer).encode(outer)
    assert encoded == {"one": {"n": 2}, "many": [{"n": 3}], "named": {"a": {"n": 4}}, "late": 0}
    assert Coder.lookup(Outer).decode(encoded) == outer
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
    assert Path.validate(local) is local
    for kind in (Path, cog.File):
        assert "must be a path or a URL, not int" in raises(ValueError, kind.validate, 3)

    assert cog.files.guess_filename(memory) == "file"
    with local.open("rb") as file:
        assert file.read() == b"text"
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
coders()
inputs()
with tempfile.TemporaryDirectory() as scratch:
    files(scratch)
print("all used")
