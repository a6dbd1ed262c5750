"""Procedures: one server, many predictors, each named by its source in the request."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cog_server.conftest import Signals
from tests.cog_server.procedures import ASYNC, SSE, Library, Procedures
from tests.cog_server.scenarios.test_webhooks import hooked, until_terminal
from tests.cog_server.test_leaving import alive, descendants
from tests.support.commands import Command, run, until
from tests.support.local_package import write_model
from tests.support.receiver import Receiver

Serve = Callable[..., Procedures]

COUNTED = """
def setup(self):
    import tempfile
    tempfile.mkstemp(prefix="{name}-", dir="{folder}")
def predict(self, text: str = "") -> str:
    return text
"""


@pytest.fixture
def signals(public: Path) -> Signals:
    return Signals(public)


def runner_processes(server: Procedures) -> set[int]:
    return descendants(server.process.pid)


def setups(folder: Path, name: str) -> int:
    return len(list(folder.glob(f"{name}-*")))


def test_several_predictors_each_stays(serve_procedures: Serve, library: Library) -> None:
    server = serve_procedures()
    assert server.succeeded(library.url("echo"), {"text": "a"}) == "a"
    first = server.succeeded(library.url("mortal"))
    assert server.succeeded(library.url("mortal")) == first
    assert server.succeeded(library.url("echo"), {"text": "b"}) == "b"
    found = server.health()
    assert found["status"] == "READY"
    assert found["concurrency"]["current"] == 0
    assert found["setup"]["status"] == "succeeded"
    shown = [(each["url"], each["status"], each["uses"]) for each in found["procedures"]]
    assert shown == [(library.url("mortal"), "READY", 2), (library.url("echo"), "READY", 2)]
    assert all(each["since"] for each in found["procedures"])


def test_the_source_is_not_written_to(serve_procedures: Serve, library: Library) -> None:
    source = library.write(
        "writer", "def predict(self) -> str:\n    open('new', 'w').close()\n    return os.getcwd()"
    )
    where = serve_procedures().succeeded(source)
    assert Path(where) != library.folder / "writer"
    assert [each.name for each in (library.folder / "writer").iterdir()] == ["predict.py"]


def test_links_of_a_folder_lead_where_they_led(
    serve_procedures: Serve, library: Library, public: Path
) -> None:
    (public / "weights").write_text("w")
    source = library.write(
        "linked", "def predict(self) -> str:\n    return open('outer').read() + open('inner').read()"
    )
    folder = library.folder / "linked"
    (folder / "note").write_text("n")
    (folder / "outer").symlink_to(f"../../{public.name}/weights")
    (folder / "inner").symlink_to("note")
    library.open_up("linked")
    assert serve_procedures().succeeded(source) == "wn"


@pytest.mark.parametrize(
    ("context", "kind", "message"),
    [
        ({}, "value_error.missing", "Field required"),
        ({"procedure_source_url": "echo"}, "value_error.url", "expected file:///folder"),
        ({"procedure_source_url": "ftp://a/b.zip"}, "value_error.url", "expected file:///folder"),
        ({"procedure_source_url": "file://host/a"}, "value_error.url", "file:///path/to/folder"),
        ({"procedure_source_url": "file:///a?b"}, "value_error.url", "no query"),
        ({"procedure_source_url": "http://u:p@a/b.zip"}, "value_error.url", "password"),
        ({"procedure_source_url": "http://a/b c.zip"}, "value_error.url", "no spaces"),
    ],
)
def test_what_is_no_source(serve_procedures: Serve, context: dict[str, str], kind: str, message: str) -> None:
    answer = serve_procedures().http.post("/procedures", json={"context": context})
    assert answer.status_code == 422
    problem = answer.json()["detail"][0]
    assert (problem["loc"], problem["type"]) == (["body", "context", "procedure_source_url"], kind)
    assert message in problem["msg"]


def test_pages(serve_procedures: Serve, library: Library) -> None:
    server = serve_procedures()
    for method, path in (("POST", "/predictions"), ("GET", "/predictions/a"), ("PUT", "/trainings/a")):
        answer = server.http.request(method, path)
        assert (answer.status_code, "POST /procedures" in answer.json()["detail"]) == (404, True)
    found = server.http.get("/").json()
    assert found["procedures_cancel_url"] == "/procedures/{prediction_id}/cancel"
    assert not [name for name in found if name.startswith("predictions")]
    assert "/procedures" in server.http.get("/openapi.json").json()["paths"]
    query = {"source": library.url("echo")}
    assert server.http.get("/openapi.json", params=query).status_code == 404
    server.succeeded(library.url("echo"))
    schemas = server.http.get("/openapi.json", params=query).json()["components"]["schemas"]
    assert "text" in schemas["Input"]["properties"]
    assert "/procedures" in server.http.get("/docs").text
    assert server.http.post("/procedures/none/cancel").status_code == 404
    assert server.http.get("/procedures/none").status_code == 404


def test_a_server_of_one_model_says_where_procedures_are(shared: Callable[[str], Any]) -> None:
    answer = shared("echo").http.post("/procedures", json={})
    assert (answer.status_code, "--procedure-mode" in answer.json()["detail"]) == (404, True)


def test_the_context_reaches_the_model(serve_procedures: Serve, library: Library) -> None:
    found = serve_procedures().succeeded(
        library.url("context"), context={"replicate_api_token": "r8_x", "more": "m"}, id="the-id"
    )
    assert found == {
        "procedure_source_url": library.url("context"),
        "replicate_api_token": "r8_x",
        "more": "m",
        "id": "the-id",
    }


def test_inputs_are_checked_also_of_the_first(serve_procedures: Serve, library: Library) -> None:
    server = serve_procedures()
    problem = {"loc": ["body", "input", "text"], "msg": "Field required", "type": "value_error.missing"}
    for state in (None, "READY"):
        assert server.states().get("required") == state
        answer = server.ask(library.url("required"))
        assert (answer.status_code, answer.json()) == (422, {"detail": [problem]})


def test_an_input_that_is_refused_after_the_answer(
    serve_procedures: Serve, library: Library, hooks: Receiver
) -> None:
    server = serve_procedures()
    id = server.begun(library.url("required"), **hooked(hooks, "completed"))
    found = until_terminal(hooks)[-1]
    assert (found["id"], found["status"], found["error"]) == (id, "failed", "Field required")


def test_nothing_is_shown_before_it_is_known_what_is_secret(
    serve_procedures: Serve, library: Library, hooks: Receiver
) -> None:
    server = serve_procedures()
    answer = server.ask(library.url("secret"), {"key": "hush"}, headers=ASYNC, **hooked(hooks))
    assert (answer.status_code, answer.json()["input"]) == (202, {})
    found = server.ended(answer.json()["id"])
    assert found["input"] == {"key": "**********"}
    until_terminal(hooks)
    assert all("hush" not in each.body.decode() for each in hooks.received)


def test_streams(serve_procedures: Serve, library: Library) -> None:
    server = serve_procedures()
    for _ in ("set up for it", "set up"):
        answer = server.ask(library.url("stream"), {"count": 2}, headers=SSE)
        assert answer.headers["content-type"].startswith("text/event-stream")
        chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if '"chunk"' in line]
        assert [each["chunk"] for each in chunks] == ["<0>", "<1>"]
        assert '"status":"succeeded"' in answer.text


def test_what_does_not_yield_is_not_streamed(serve_procedures: Serve, library: Library) -> None:
    server = serve_procedures()
    for name in ("echo", "mortal"):
        for _ in ("set up for it", "set up"):
            answer = server.ask(library.url(name), headers=SSE)
            assert (answer.status_code, "does not yield" in answer.json()["detail"]) == (406, True)
    both = {"Accept": "text/event-stream, application/json"}
    source = library.write("once", "def predict(self) -> int:\n    print('ran')\n    return 1")
    answer = server.ask(source, headers=both)
    assert (answer.json()["output"], answer.json()["logs"]) == (1, "ran\n")


def test_webhooks(serve_procedures: Serve, library: Library, hooks: Receiver) -> None:
    server = serve_procedures()
    id = server.begun(library.url("stream"), {"count": 2}, **hooked(hooks, "start", "completed"))
    found = until_terminal(hooks)
    assert [each["status"] for each in found] == ["processing", "succeeded"]
    assert found[-1] == server.get(id)


def test_files_are_uploaded(serve_procedures: Serve, library: Library, hooks: Receiver) -> None:
    server = serve_procedures("--upload-url", f"{hooks.url}/up")
    output = server.succeeded(library.url("files"), {"file": "data:text/plain;base64,YWJj"})
    assert output == [f"{hooks.url}/up/cog-server-test-0.txt"]
    assert [each.body for each in hooks.received] == [b"cba0"]


def test_a_file_comes_back_in_the_answer(serve_procedures: Serve, library: Library) -> None:
    output = serve_procedures().succeeded(library.url("files"), {"file": "data:text/plain;base64,YWJj"})
    assert output == ["data:text/plain;base64,Y2JhMA=="]


def test_first_requests_at_the_same_time_set_it_up_once(
    serve_procedures: Serve, library: Library, public: Path
) -> None:
    server = serve_procedures()
    source = library.write("counted", COUNTED.format(name="counted", folder=public))
    with ThreadPoolExecutor(8) as pool:
        texts = [str(number) for number in range(8)]
        assert list(pool.map(lambda text: server.succeeded(source, {"text": text}), texts)) == texts
    assert setups(public, "counted") == 1


def test_concurrency_is_that_of_its_config(
    serve_procedures: Serve, library: Library, signals: Signals
) -> None:
    server = serve_procedures()
    source = library.url("async_waiter")
    ids = [server.begun(source, signals.input(name)) for name in ("a", "b")]
    until(lambda: signals.there("a.begun") and signals.there("b.begun"), "both run")
    assert server.states() == {"async_waiter": "BUSY"}
    assert server.ask(source, signals.input("c")).status_code == 409
    for name in ("a", "b"):
        signals.make(f"{name}.go")
    assert [server.ended(id)["output"] for id in ids] == ["a", "b"]


def test_the_least_recently_used_one_gives_way(
    serve_procedures: Serve, library: Library, public: Path
) -> None:
    server = serve_procedures("--max-runners", "2")
    sources = {}
    for name in "abc":
        sources[name] = library.write(name, COUNTED.format(name=name, folder=public))
    for name in "abac":
        server.succeeded(sources[name])
    assert list(server.states()) == ["a", "c"]
    for name in "ab":
        server.succeeded(sources[name])
    assert [setups(public, name) for name in "abc"] == [1, 2, 1]


def test_a_prediction_can_be_looked_up_after_its_procedure_has_gone(
    serve_procedures: Serve, library: Library
) -> None:
    server = serve_procedures("--max-runners", "1")
    server.succeeded(library.url("echo"), {"text": "kept"}, put="mine")
    server.succeeded(library.url("mortal"))
    assert server.get("mine")["output"] == "kept"
    answer = server.ask(library.url("echo"), {"text": "kept"}, put="mine")
    assert (answer.status_code, server.states()) == (200, {"mortal": "READY"})


def test_a_put_joins_one_that_runs(serve_procedures: Serve, library: Library, signals: Signals) -> None:
    server = serve_procedures()
    server.ask(library.url("waiter"), signals.input("a"), put="mine", headers=ASYNC)
    until(lambda: signals.there("a.begun"), "it runs")
    assert server.ask(library.url("waiter"), signals.input("a"), put="mine").status_code == 202
    assert server.ask(library.url("echo"), id="mine").status_code == 409
    signals.make("a.go")
    assert server.ended("mine")["output"] == "a"


def test_when_all_are_busy(serve_procedures: Serve, library: Library, signals: Signals) -> None:
    server = serve_procedures("--max-runners", "1")
    id = server.begun(library.url("waiter"), signals.input("a"))
    until(lambda: signals.there("a.begun"), "it runs")
    found = server.health()
    assert (found["status"], found["concurrency"]) == ("BUSY", {"max": 1, "current": 1})
    answer = server.ask(library.url("echo"))
    assert (answer.status_code, "--max-runners" in answer.json()["detail"]) == (409, True)
    signals.make("a.go")
    server.ended(id)
    assert server.succeeded(library.url("echo")) == "hello"


def test_requests_that_hoped_for_a_place_are_inspected_all_the_same(
    serve_procedures: Serve, library: Library, signals: Signals
) -> None:
    server = serve_procedures("--max-runners", "1", "--refuse-after-s", "20")
    server.begun(library.url("waiter"), signals.input("a"))
    until(lambda: signals.there("a.begun"), "it runs")
    source = library.url("secret")
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(server.ask, source, {"key": "hush"}, id=name) for name in ("x", "y")]
        wrong = pool.submit(server.ask, source)
        signals.make("a.go")
        answers = [each.result().json() for each in asked]
        assert wrong.result().status_code == 422
    assert [answer.get("input") for answer in answers] == [{"key": "**********"}] * 2, answers


def test_one_client_after_the_other_is_never_refused(serve_procedures: Serve, library: Library) -> None:
    server = serve_procedures("--max-runners", "1")
    for _ in range(4):
        for name in ("echo", "mortal"):
            assert server.succeeded(library.url(name))


def test_with_a_queue_it_waits_for_a_runner(
    serve_procedures: Serve, library: Library, signals: Signals
) -> None:
    server = serve_procedures("--max-runners", "1", "--queue-size", "2")
    server.begun(library.url("waiter"), signals.input("a"))
    until(lambda: signals.there("a.begun"), "it runs")
    waiting = server.begun(library.url("echo"), {"text": "x"})
    gone = server.begun(library.url("mortal"))
    assert server.get(waiting)["position"] == 1
    assert server.states() == {"waiter": "BUSY", "echo": "WAITING", "mortal": "WAITING"}
    assert server.ask(library.url("echo")).status_code == 409
    assert server.http.post(f"/procedures/{gone}/cancel").status_code == 200
    assert server.get(gone)["status"] == "canceled"
    server.reach("mortal", None)
    signals.make("a.go")
    assert server.ended(waiting)["output"] == "x"


def test_who_waits_for_a_place_gets_it_though_others_go_on_asking(
    serve_procedures: Serve, library: Library, signals: Signals
) -> None:
    server = serve_procedures("--max-runners", "1", "--queue-size", "5")
    source = library.url("async_waiter")
    server.begun(source, signals.input("a"))
    until(lambda: signals.there("a.begun"), "it runs")
    waiting = server.begun(library.url("echo"), {"text": "x"})
    later = server.begun(source, signals.input("b"))  # there is a slot, but another was there before
    signals.make("a.go")
    assert server.ended(waiting)["output"] == "x"
    signals.make("b.go")
    assert server.ended(later)["output"] == "b"


def test_a_setup_that_fails_fails_the_prediction(
    serve_procedures: Serve, library: Library, hooks: Receiver
) -> None:
    server = serve_procedures("--max-runners", "1", "--refuse-after-s", "20")
    found = server.failed(library.url("broken"), **hooked(hooks, "completed"))
    assert found["error"] == "Setup has failed: RuntimeError: no weights"
    assert "about to break\n" in found["logs"]
    assert "Traceback" in found["logs"]
    assert until_terminal(hooks) == [found]
    server.reach("broken", None)
    assert server.succeeded(library.url("echo")) == "hello"
    (library.folder / "broken" / "predict.py").write_text(
        (library.folder / "echo" / "predict.py").read_text()
    )
    assert server.succeeded(library.url("broken")) == "hello"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither cog.yaml nor predict.py"),
        ({"cog.yaml": "predict: [1"}, "cog.yaml"),
        ({"predict.py": "import no_such_module_of_ours"}, "no_such_module_of_ours"),
        ({"predict.py": "def"}, "SyntaxError"),
    ],
)
def test_a_source_that_is_no_model(
    serve_procedures: Serve, library: Library, files: dict[str, str], message: str
) -> None:
    (library.folder / "bad").mkdir()
    for name, text in files.items():
        (library.folder / "bad" / name).write_text(text)
    library.open_up("bad")
    found = serve_procedures().failed(f"file://{library.folder}/bad")
    assert message in found["error"]


def test_a_crash_hurts_no_other(serve_procedures: Serve, library: Library, signals: Signals) -> None:
    server = serve_procedures()
    other = server.begun(library.url("waiter"), signals.input("a"))
    until(lambda: signals.there("a.begun"), "it runs")
    first = server.succeeded(library.url("mortal"))
    found = server.failed(library.url("mortal"), {"die": True})
    assert "SIGKILL" in found["error"]
    assert found["logs"] == "last words\n"
    assert server.succeeded(library.url("mortal")) != first
    signals.make("a.go")
    assert server.ended(other)["output"] == "a"


def test_one_that_is_defunct_is_replaced_on_the_next_request(
    serve_procedures: Serve, library: Library, public: Path
) -> None:
    server = serve_procedures()
    source = library.write(
        "sickly",
        f"""
def setup(self):
    if os.path.exists("{public}/sick"):
        os._exit(3)
def predict(self, die: bool = False) -> int:
    if die:
        os._exit(4)
    return 1
""",
    )
    assert server.succeeded(source) == 1
    (public / "sick").touch()
    server.failed(source, {"die": True})
    server.reach("sickly", "DEFUNCT")
    (public / "sick").unlink()
    assert server.succeeded(source) == 1


def test_cancel_of_one_that_runs_and_of_one_in_setup(
    serve_procedures: Serve, library: Library, signals: Signals
) -> None:
    server = serve_procedures()
    id = server.begun(library.url("waiter"), signals.input("a"))
    until(lambda: signals.there("a.begun"), "it runs")
    assert server.http.post(f"/procedures/{id}/cancel").status_code == 200
    assert server.ended(id)["status"] == "canceled"
    assert signals.there("a.left")
    source = library.write(
        "slow",
        f"""
def setup(self):
    while not os.path.exists("{signals.folder}/go"):
        time.sleep(0.005)
def predict(self) -> int:
    return 1
""",
    )
    id = server.begun(source)
    assert server.states()["slow"] == "STARTING"
    assert server.http.post(f"/procedures/{id}/cancel").status_code == 200
    assert server.ended(id)["status"] == "canceled"
    signals.make("go")
    assert server.succeeded(source) == 1


def test_a_client_that_goes_away_takes_its_prediction_with_it(
    serve_procedures: Serve, library: Library, signals: Signals
) -> None:
    server = serve_procedures()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/procedures",
            json={
                "id": "left",
                "input": signals.input("a"),
                "context": {"procedure_source_url": library.url("waiter")},
            },
            timeout=1,
        )
    assert server.ended("left")["status"] == "canceled"


def test_sigterm_under_load(
    serve_procedures: Serve, library: Library, signals: Signals, hooks: Receiver
) -> None:
    """What runs and what waits, also for a place, is finished; then everything is gone."""
    server = serve_procedures("--max-runners", "1", "--queue-size", "4")
    server.begun(library.url("waiter"), signals.input("a"), **hooked(hooks, "completed"))
    until(lambda: signals.there("a.begun"), "it runs")
    server.begun(library.url("echo"), {"text": "x"}, **hooked(hooks, "completed"))
    server.begun(library.url("broken"), **hooked(hooks, "completed"))
    home = Path(f"/proc/{next(iter(runner_processes(server)))}/cwd").resolve()
    server.process.terminate()
    server.command.line("leaving: SIGTERM")
    assert server.ask(library.url("echo")).status_code == 503
    signals.make("a.go")
    assert server.process.wait(30) == 0
    ends = {each.json["status"]: each.json["output"] for each in hooks.received[:2]}
    assert ends == {"succeeded": "x"}
    assert [each.json["status"] for each in hooks.received] == ["succeeded", "succeeded", "failed"]
    assert not home.exists()


def test_a_second_signal_does_not_wait(
    serve_procedures: Serve, library: Library, signals: Signals, hooks: Receiver
) -> None:
    server = serve_procedures("--max-runners", "1", "--queue-size", "4")
    server.begun(library.url("waiter"), signals.input("a"), **hooked(hooks, "completed"))
    until(lambda: signals.there("a.begun"), "it runs")
    server.begun(library.url("echo"), **hooked(hooks, "completed"))
    processes = runner_processes(server)
    server.process.terminate()
    server.command.line("leaving: SIGTERM")
    server.process.terminate()
    assert server.process.wait(30) == 0
    assert [each.json["status"] for each in hooks.received] == ["canceled", "canceled"]
    assert not alive(processes)


def test_packages_of_its_config(serve_procedures: Serve, library: Library, tmp_path: Path) -> None:
    write_model(library.folder / "greeter")
    (library.folder / "greeter" / "parts" / "greeting" / "backend.py").chmod(0o644)
    server = serve_procedures("--isolation", "off", "--install", "--cache", str(tmp_path / "cache"))
    source = f"file://{library.folder}/greeter"
    assert server.succeeded(source, {"name": "you"}) == "hello you"
    (library.folder / "bad").mkdir()
    (library.folder / "bad" / "predict.py").write_text("class Predictor: pass")
    (library.folder / "bad" / "cog.yaml").write_text(
        "predict: predict.py:Predictor\nbuild: {python_requirements: none.txt}\n"
    )
    found = server.failed(f"file://{library.folder}/bad")
    assert "none.txt" in found["error"]


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["--use-procedure-mode", "--max-runners", "3"], {}),
        ([], {"COG_USE_PROCEDURE_MODE": "true", "COG_MAX_RUNNERS": "3"}),
        ([], {"COGFLARE_PROCEDURE_MODE": "1", "COGFLARE_MAX_RUNNERS": "3"}),
    ],
)
def test_the_spellings_of_cog(options: list[str], environment: dict[str, str]) -> None:
    command = Command("cog-server", "--port", "0", "--isolation", "off", *options, environment=environment)
    try:
        port = command.line(r"listening on http://127\.0\.0\.1:(\d+)")[1]
        found = httpx.get(f"http://127.0.0.1:{port}/health-check").json()
        assert found["concurrency"] == {"max": 3, "current": 0}
    finally:
        command.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["some/folder"], "DIR is for one model"),
        (["--predictor", "predict.py"], "--predictor is for one model"),
        (["--max-runners", "0"], "below 1"),
        (["--isolation", "perhaps"], "none of auto, uid, off"),
    ],
)
def test_what_cannot_be_right_is_one_line(arguments: list[str], message: str) -> None:
    done = run("cog-server", "--procedure-mode", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
