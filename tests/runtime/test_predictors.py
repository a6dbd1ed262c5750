"""What a predictor may be and may do: the forms of all generations, each in a process of its own."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.threads import start_deaf

Start = Callable[..., Any]


def predictor(body: str, imports: str = "") -> str:
    return f"from typing import *\nfrom cog import *\n{imports}\n{body}"


RUN = """\
class Runner(BaseRunner):
    def setup(self):
        self.word = "hello"

    def run(self, name: str) -> str:
        self.record_metric("length", len(name))
        self.scope.metrics["twice"] = 2 * len(name)
        return f"{self.word} {name}"
"""
FUNCTION = """\
def Predictor(name: str, times: int = 2) -> Iterator[str]:
    for _ in range(times):
        yield name
"""
ANYTHING = "class Predictor:\n    def predict(self, **kwargs) -> Any:\n        return kwargs\n"


def test_run_and_a_file_without_a_name(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(RUN), "--predictor", "predict.py")
    assert coglet.setup_result()["status"] == "succeeded"
    response = coglet.predict("a", name="you")
    assert response["output"] == "hello you"
    assert (response["metrics"]["length"], response["metrics"]["twice"]) == (3, 6)


HELPERS = """\
class Pipeline:
    def predict(self, x): return self.run(x)
    def run(self, x): return f"{x}!"

class Helped(BasePredictor):
    def predict(self, name: str) -> str: return self.run(name)
    def run(self, x): return f"{x}?"

class Mixed(BasePredictor, Pipeline):
    def predict(self, name: str) -> str: return Pipeline.predict(self, name)

class Runs(BaseRunner, Pipeline):
    def run(self, name: str) -> str: return Pipeline.run(self, name)
"""


@pytest.mark.parametrize(("name", "output"), [("Helped", "you?"), ("Mixed", "you!"), ("Runs", "you!")])
def test_a_helper_may_be_called_run(start_coglet: Start, name: str, output: str) -> None:
    coglet = start_coglet(predictor(HELPERS), "--predictor", f"predict.py:{name}")
    assert coglet.setup_result()["status"] == "succeeded"
    assert coglet.predict("a", name="you")["output"] == output


ONE_LOOP = """\
import asyncio

first = asyncio.Lock()

class Predictor(BasePredictor):
    def __init__(self):
        self.asked = asyncio.Queue()

    def setup(self):
        loop = asyncio.get_event_loop()
        self.second = loop.run_until_complete(self.make())
        self.worker = loop.create_task(self.work())

    async def make(self):
        return asyncio.Lock()

    async def work(self):
        try:
            while True:
                answer, name = await self.asked.get()
                answer.set_result(f"hello {name}")
        finally:
            print("the worker ends")

    async def hold(self, lock):
        async with lock:
            await asyncio.sleep(0)

    async def predict(self, name: str) -> str:
        await asyncio.gather(*(self.hold(lock) for lock in (first, first, self.second, self.second)))
        answer = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((answer, name))
        return await answer
"""


def test_a_synchronous_setup_prepares_the_loop_of_an_async_predict(
    any_python: str, start_coglet: Start
) -> None:
    coglet = start_coglet(predictor(ONE_LOOP), python=any_python)
    assert coglet.setup_result()["status"] == "succeeded"
    assert coglet.predict("a", name="you")["output"] == "hello you"
    coglet.write("stop")
    assert coglet.process.wait(timeout=10) == 0
    assert coglet.process.stdout.read() == "the worker ends\n"


@pytest.mark.parametrize("setup", ["def setup(self): asyncio.run", "async def setup(self): await "])
def test_setup_may_run_coroutines(start_coglet: Start, setup: str) -> None:
    body = f"class Predictor:\n    {setup}(asyncio.sleep(0, print('ready')))\n"
    body += "    async def predict(self) -> str: return await asyncio.sleep(0, 'done')\n"
    coglet = start_coglet(predictor(body, "import asyncio"))
    result = coglet.setup_result()
    assert (result["status"], result["logs"]) == ("succeeded", "ready\n")
    assert coglet.predict("a")["output"] == "done"


NUMPY = """\
import numpy

class Predictor(BasePredictor):
    def predict(
        self,
        ratio: float = Input(default=numpy.float64(0.5), ge=numpy.float64(0), le=numpy.float32(1)),
        seed: int = Input(default=numpy.int64(3), ge=numpy.int64(0), le=numpy.int64(10)),
        size: int = Input(default=numpy.int64(1), choices=numpy.int64([1, 2])),
        word: str = Input(default="a", min_length=numpy.int64(1), max_length=numpy.int64(5)),
        ratios: List[float] = Input(default=numpy.float64([0.5, 1])),
        on: bool = numpy.True_,
    ) -> Any:
        assert [type(each) for each in (ratio, seed, size, on)] == [float, int, int, bool]
        table = {numpy.int32(1): numpy.float16(0.5), numpy.str_("a"): numpy.arange(2)}
        return [ratio, seed, size, word, ratios, on, table]
"""


def test_numpys_numbers_are_numbers(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(NUMPY), interpreter_options=())
    result = coglet.setup_result()
    assert result["status"] == "succeeded", result["error"]
    properties = coglet.read("openapi.json")["components"]["schemas"]["Input"]["properties"]
    assert (properties["seed"]["default"], properties["seed"]["maximum"]) == (3, 10.0)
    assert properties["ratios"]["default"] == [0.5, 1.0]
    table = {"1": 0.5, "a": [0, 1]}
    assert coglet.predict("a")["output"] == [0.5, 3, 1, "a", [0.5, 1.0], True, table]
    assert coglet.predict("b", seed=11)["error"] == "seed: must be at most 10"


def test_a_function(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(FUNCTION))
    coglet.setup_result()
    assert coglet.predict("a", name="x")["output"] == ["x", "x"]


def test_a_predictor_that_takes_anything(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(ANYTHING))
    coglet.setup_result()
    assert coglet.predict("a", one=1, two=["b"])["output"] == {"one": 1, "two": ["b"]}
    assert coglet.read("openapi.json")["components"]["schemas"]["Input"]["additionalProperties"] is True


DEFAULTS = """\
class Predictor:
    def predict(self, words: List[str] = Input(default=["a"]), counts: Dict[str, int] = {}) -> Any:
        words.append("b")
        counts["n"] = len(counts) + 1
        return [words, counts]
"""


def test_no_prediction_sees_anothers_defaults(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(DEFAULTS))
    coglet.setup_result()
    assert coglet.predict("a")["output"] == [["a", "b"], {"n": 1}]
    assert coglet.predict("b")["output"] == [["a", "b"], {"n": 1}]


SCOPE = """\
import threading

def tell(found):
    found.append(current_scope().context.get("id"))
    current_scope().record_metric("in.a.thread", True)

class Predictor:
    def predict(self, do: str = "") -> Any:
        scope = current_scope()
        if do == "thread":
            found = []
            thread = threading.Thread(target=tell, args=(found,))
            thread.start()
            thread.join()
            return found
        if do:
            scope.record_metric(do, 1)
        scope.metrics.record("a.b", 1)
        scope.metrics.record("a.c", 2, mode="increment")
        scope.metrics.record("a.c", 3, mode="incr")
        scope.metrics.record("list", 1, mode="append")
        scope.metrics["gone"] = 1
        del scope.metrics["gone"]
        scope.metrics["a.d"] = None
        return scope.context
"""


def test_context_and_metrics(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(SCOPE))
    coglet.setup_result()
    coglet.write("request-a.json", {"input": {}, "context": {"trace": "t1"}})
    response = coglet.response("a")
    assert response["output"] == {"id": "a", "trace": "t1"}
    del response["metrics"]["predict_time"]
    assert response["metrics"] == {"a": {"b": 1, "c": 5}, "list": [1]}
    coglet.write("request-b.json", {"input": {}, "context": {"trace": 1}})
    assert coglet.response("b")["error"] == "the context of the request is not an object of strings"
    response = coglet.predict("c", do="thread")
    assert response["output"] == ["c"]
    assert response["metrics"]["in"] == {"a": {"thread": True}}


NO_METRICS = ["1a", "a_", "a__b", "a..b", ".a", "a.b.c.d.e", "a b", "predict_time", "cog.x", "x" * 129]


@pytest.mark.parametrize("key", NO_METRICS)
def test_a_metric_that_cannot_be_one_fails_the_prediction(key: str, shared_scope: Any) -> None:
    response = shared_scope.predict(f"x{NO_METRICS.index(key)}", do=key)
    assert (response["status"], response["error_code"]) == ("failed", "model_error")
    assert "metric" in response["error"]


@pytest.fixture(scope="module")
def shared_scope(start_shared: Start) -> Any:
    coglet = start_shared(predictor(SCOPE))
    coglet.setup_result()
    return coglet


SECRETS = """\
import sys, time
class Login(BaseModel):
    user: str
    password: Secret

class Predictor:
    def predict(self, do: str, token: Secret, login: Optional[Dict[str, Secret]] = None) -> Any:
        value = token.get_secret_value()
        if do == "raise":
            raise ValueError(f"cannot log in with {value} and {login['a'].get_secret_value()}")
        if do == "print":
            print("one", value, "two")
            sys.stdout.write("cut " + value[:5])
            sys.stdout.flush()
            time.sleep(0.12)  # longer than the interval in which a response is rewritten
            sys.stdout.write(value[5:] + " end")
        if do == "almost":
            sys.stdout.write("ends with " + value[:5])
        return [token, Login(user="u", password=token), str(token)]
"""


def test_secrets_stay_secret(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(SECRETS))
    coglet.setup_result()
    token, other = "tok-1234567890", "other-secret"
    given = {"token": token, "login": {"a": other}}
    raised = coglet.predict("a", do="raise", **given)
    assert raised["error"] == "cannot log in with ********** and **********"
    assert raised["logs"].endswith("ValueError: cannot log in with ********** and **********\n")
    assert "Traceback" in raised["logs"]

    coglet.write("request-b.json", {"input": {"do": "print", **given}})
    seen = []

    def ended() -> Any:
        response = coglet.read("response-b.json")
        if response:
            seen.append(response["logs"])
        return response if response and response["status"] != "processing" else None

    response = coglet.until(ended)
    assert response["logs"] == "one ********** two\ncut ********** end"
    assert not any(token[:5] in logs for logs in seen)
    assert response["output"] == ["**********", {"user": "u", "password": "**********"}, "**********"]

    assert coglet.predict("c", do="almost", **given)["logs"] == "ends with tok-1"
    refused = coglet.predict("d", do="x", token=["tok-1234567890"])
    assert refused["error"] == "token: must be a string, not a list"


WEIGHTS = """\
class Predictor:
    def setup(self, weights: {annotation}):
        self.weights = weights

    def predict(self) -> str:
        if self.weights is None:
            return "none"
        if hasattr(self.weights, "read"):
            return self.weights.read().decode()
        if isinstance(self.weights, Path):
            return self.weights.read_text()
        return self.weights
"""


@pytest.fixture
def weights_url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "w.bin").write_text("from a server")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    start_deaf(threading.Thread(target=server.serve_forever))
    yield f"http://127.0.0.1:{server.server_port}/w.bin"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        ("Path", None, "none"),
        ("Optional[Path]", "file", "from a file"),
        ("str", "file", "given.bin"),
        ("File", "file", "from a file"),
        ("Path", "url", "from a server"),
        ("File", "url", "from a server"),
        ("Path", "data:text/plain;base64,YWJj", "abc"),
        ("str", "data:text/plain;base64,YWJj", "data:text/plain;base64,YWJj"),
    ],
)
def test_weights(
    start_coglet: Start, weights_url: str, annotation: str, given: Any, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "given.bin").write_text("from a file")
    value = {"file": "given.bin", "url": weights_url}.get(given, given)
    environment = {} if value is None else {"COG_WEIGHTS": value}
    files = {"given.bin": "from a file"}
    source = predictor(WEIGHTS.replace("{annotation}", annotation))
    coglet = start_coglet(source, environment=environment, files=files)
    assert coglet.setup_result()["status"] == "succeeded"
    assert coglet.predict("a")["output"] == expected


def test_weights_in_the_models_folder(start_coglet: Start) -> None:
    source = predictor(WEIGHTS.replace("{annotation}", "Path"))
    coglet = start_coglet(source, files={"weights": "mine"})
    coglet.setup_result()
    assert coglet.predict("a")["output"] == "mine"


def test_weights_that_are_not_there(start_coglet: Start) -> None:
    source = predictor(WEIGHTS.replace("{annotation}", "Path"))
    coglet = start_coglet(source, environment={"COG_WEIGHTS": "http://127.0.0.1:1/w"})
    assert coglet.process.wait(10) == 1
    assert "the weights that COG_WEIGHTS names cannot be had" in coglet.read("setup-result.json")["error"]


HEALTH = """\
import asyncio, threading, time
release = threading.Event()

class Predictor:
    {kind}def healthcheck(self) -> bool:
        if state == "raise":
            raise RuntimeError("no GPU")
        return state

    {kind}def predict(self, becomes: Any = True, wait: bool = False) -> Any:
        global state
        state = becomes
        if wait:
            print("waiting", flush=True)
            {wait}
        return state

state = True
"""


@pytest.mark.parametrize("kind", ["", "async "])
def test_healthcheck(start_coglet: Start, kind: str) -> None:
    wait = "await asyncio.sleep(60)" if kind else "time.sleep(60)"
    coglet = start_coglet(predictor(HEALTH.replace("{kind}", kind).replace("{wait}", wait)))
    assert coglet.setup_result()["healthcheck"] is True

    def check(id: str) -> Any:
        with (coglet.work / "healthcheck").open("w") as fifo:
            fifo.write(f"{id}\n")
        return coglet.until(lambda: coglet.read(f"health-{id}.json"))

    assert check("1") == {"healthy": True, "error": None}
    coglet.predict("a", becomes=False)
    assert check("2") == {"healthy": False, "error": "user-defined healthcheck returned False"}
    coglet.predict("b", becomes="raise")
    assert check("3") == {"healthy": False, "error": "no GPU"}
    # While a prediction runs, too.
    coglet.write("request-c.json", {"input": {"becomes": True, "wait": True}})
    coglet.until(lambda: "waiting" in (coglet.read("response-c.json") or {"logs": ""})["logs"])
    assert check("4") == {"healthy": True, "error": None}
    coglet.write("cancel-c")
    assert coglet.response("c")["status"] == "canceled"


def test_a_model_without_a_healthcheck_has_no_fifo(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(ANYTHING))
    assert coglet.setup_result()["healthcheck"] is False
    assert not (coglet.work / "healthcheck").exists()


TRAIN = """\
class TrainingOutput(BaseModel):
    weights: Path

def train(
    data: Path, steps: int = Input(default=10, ge=1), kind: str = Input(default="a", choices=["a", "b"])
) -> TrainingOutput:
    print("training on", data)
    Path("out.bin").write_text(str(steps))
    return TrainingOutput(weights=Path("out.bin"))
"""
TRAINED = """\
class Predictor:
    def setup(self):
        self.base = "base"

    def predict(self, text: str, kind: str = Input(default="x", choices=["x", "y"])) -> str:
        return text

    def train(self, steps: int) -> str:
        return f"{self.base} {steps}"
"""


def test_training(start_coglet: Start) -> None:
    files = {"train.py": predictor(TRAIN), "data.txt": "d"}
    coglet = start_coglet(predictor(TRAINED), "--predictor", "train.py:train", "--mode", "train", files=files)
    assert coglet.setup_result()["status"] == "succeeded"
    document = coglet.read("openapi.json")
    assert document["components"]["schemas"]["TrainingInput"]["required"] == ["data"]
    assert "/predictions" not in document["paths"]
    response = coglet.predict("a", data="data.txt", steps=3)
    assert response["status"] == "succeeded", response
    assert response["logs"] == "training on data.txt\n"
    assert [file["pointer"] for file in response["files"]] == ["/weights"]


def test_a_method_that_trains(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(TRAINED), "--mode", "train")
    coglet.setup_result()
    assert coglet.predict("a", steps=3)["output"] == "base 3"


def test_the_document_of_a_model_that_can_be_trained(start_coglet: Start) -> None:
    coglet = start_coglet(
        predictor(TRAINED), "--train", "train.py:train", files={"train.py": predictor(TRAIN)}
    )
    coglet.setup_result()
    document = coglet.read("openapi.json")
    schemas = document["components"]["schemas"]
    assert schemas["kind"]["enum"] == ["x", "y"]
    assert schemas["Training_kind"]["enum"] == ["a", "b"]
    kind = schemas["TrainingInput"]["properties"]["kind"]
    assert kind["allOf"] == [{"$ref": "#/components/schemas/Training_kind"}]
    assert schemas["TrainingOutput"]["properties"]["weights"]["format"] == "uri"
    paths = {"/trainings", "/trainings/{training_id}", "/trainings/{training_id}/cancel"}
    assert paths < set(document["paths"])
    assert document["paths"]["/trainings"]["post"]["operationId"] == "train_trainings_post"
    assert coglet.predict("a", text="t")["output"] == "t"


def test_predictions_are_served_without_the_training_code(start_coglet: Start) -> None:
    coglet = start_coglet(predictor(TRAINED), "--train", "train.py:train")
    setup = coglet.setup_result()
    assert setup["status"] == "succeeded"
    assert "train.py:train: no training: there is no train.py in" in setup["logs"]


CONCURRENT = """\
class Predictor:
    {decorator}
    async def predict(self, name: str) -> str:
        return name
"""


def test_concurrency_is_what_the_decorator_says(start_coglet: Start) -> None:
    source = predictor(CONCURRENT.replace("{decorator}", "@concurrent(max=3)"))
    assert start_coglet(source).setup_result()["concurrency"] == 3


def test_the_parents_word_counts_more_than_the_decorators(start_coglet: Start) -> None:
    source = predictor(CONCURRENT.replace("{decorator}", "@concurrent(max=3)"))
    assert start_coglet(source, "--max-concurrency", "2").setup_result()["concurrency"] == 2


def test_streaming_is_said_in_the_document(start_coglet: Start) -> None:
    coglet = start_coglet(
        predictor("class Predictor:\n    @streaming\n    def predict(self) -> Iterator[str]: yield ''\n")
    )
    coglet.setup_result()
    assert coglet.read("openapi.json")["paths"]["/predictions"]["post"]["x-cog-streaming"] is True


ENDLESS_SETUP = "class Predictor:\n    def setup(self): {body}\n    def predict(self) -> str: return ''\n"


@pytest.mark.parametrize(
    "body", ["import sys; sys.exit(3)", "import os; os._exit(3)", "raise SystemExit('no')"]
)
def test_a_setup_that_exits(start_coglet: Start, body: str) -> None:
    coglet = start_coglet(predictor(ENDLESS_SETUP.replace("{body}", body)))
    assert coglet.process.wait(10) in (1, 3)
    setup = coglet.read("setup-result.json")
    assert setup is None or setup["error"].startswith("setup called sys.exit(")


def test_a_module_that_is_missing_is_named(start_coglet: Start) -> None:
    coglet = start_coglet("import no_such_module\n")
    assert coglet.process.wait(10) == 1
    setup = coglet.read("setup-result.json")
    assert (setup["missing_module"], setup["refused"]) == ("no_such_module", False)
