"""What the official clients fall over, one test for each: the traps of Replicate's API, as they see it.

Where a client itself falls over, its own program has the case; what no client shows is looked at by hand.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from coordinator.protocol.limits import ServerLimits
from tests.acceptance.clients.conftest import (
    CLIENTS,
    HERE,
    WAIT_S,
    Report,
    World,
    carry_out,
    limited,
    picture,
)
from tests.acceptance.test_serve import certificate
from tests.support.commands import REPOSITORY, Agent, Calls, Server

TALE = {"prompt": "a test", "words": 80, "pace": "instant"}
every = pytest.mark.parametrize("client", CLIENTS)


def check(reports: dict[str, Report], client: str, case: str) -> None:
    fault = reports[client].get(case, "the program has no such case")
    assert fault is None, fault


@every
def test_a_wait_that_runs_out_says_starting_and_run_goes_on(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: a wait that runs out")


def test_an_answer_comes_before_a_client_asks_again(reports: dict[str, Report]) -> None:
    """Python 2 reads for 60 s, and sends the POST again then; here all times are cut down in proportion."""
    assert WAIT_S < 4 < ServerLimits().wait_s < 58
    check(reports, "python2", "trap: an answer before it asks again")


@every
def test_nothing_is_null_in_urls(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: no nulls in urls")


@every
def test_an_error_is_a_string_or_null(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: errors are strings")


@every
def test_nothing_is_aborted(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: a deadline before the start is canceled")


def test_streams_are_what_both_readers_of_streams_can_read(world: World) -> None:
    made = world.calls.create("demo/storyteller", TALE)
    with httpx.stream("GET", made["urls"]["stream"], headers={"accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].partition(";")[0] == "text/event-stream"
        lines = list(stream.iter_lines())
    assert lines[0].startswith(":")
    blocks = [block for block in "\n".join(lines).split("\n\n") if not block.startswith(":")]
    for block in blocks:
        fields = dict(line.partition(": ")[::2] for line in block.splitlines())
        assert fields["id"]
        assert fields["event"] in ("output", "logs", "error", "done")
    assert "/v1/files/" not in made["urls"]["stream"]
    assert ServerLimits().stream_heartbeat_s < 30


@every
def test_output_files_can_be_read_without_https(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "output files")


@pytest.fixture(scope="module")
def over_https(
    tmp_path_factory: pytest.TempPathFactory, world: World, monkeypatch_module: pytest.MonkeyPatch
) -> Iterator[dict[str, Report]]:
    folder = tmp_path_factory.mktemp("https")
    cert, key = certificate(folder, "tls")
    monkeypatch_module.setenv("SSL_CERT_FILE", cert)
    server = Server(folder / "data", "--tls-cert", cert, "--tls-key", key)
    agent = None
    try:
        server.start()
        agent = Agent(
            server, folder / "agent", f"demo/restyle={REPOSITORY / 'examples' / 'models' / 'restyle'}"
        ).ready()
        token = (server.data / "admin-token").read_text().strip()
        told = {"url": server.url, "token": token, "picture": str(picture(folder)), "echo": "", "story": ""}
        other = World(server, world.calls, token, told)
        yield carry_out(other, "output files", SSL_CERT_FILE=cert, NODE_EXTRA_CA_CERTS=cert)
        calls = Calls(server.client())
        outputs = [one["output"] for one in calls.http.get("/v1/predictions").json()["results"]]
        assert len(outputs) == len(CLIENTS)
        for url in outputs:
            answer = httpx.get(url)  # no token
            assert url.startswith("https:")
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("image/")
    finally:
        if agent is not None:
            agent.close()
        server.close()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@every
def test_output_files_can_be_read_over_https(over_https: dict[str, Report], client: str) -> None:
    check(over_https, client, "output files")


@every
def test_metadata_of_an_upload_comes_in_three_shapes(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "files.create")


@every
def test_a_search_is_a_query_with_raw_or_quoted_words(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "models.search")


@every
def test_a_base_url_may_end_in_v1_or_not(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: both base URLs")


def test_no_slash_is_redirected_and_the_next_page_is_an_absolute_url(world: World) -> None:
    for _ in range(6):
        world.calls.create("test/echo", {"text": "x"})
    page = world.calls.http.get("/v1/predictions").json()
    assert page["next"].startswith(f"{world.server.url}/v1/predictions?")
    assert world.calls.http.get("/v1/v1/predictions").json()["results"]
    assert not world.calls.http.get("/v1/predictions/").is_redirect


@every
def test_old_fields_are_taken(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: old fields")


@every
def test_an_empty_body_of_json_is_no_error(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "predictions.cancel")


@every
def test_refusals_are_objects_that_say_what_is_wrong(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: refusals")


def test_wrong_inputs_are_told_by_field_and_creations_are_not_to_be_repeated(world: World) -> None:
    answer = world.calls.http.post("/v1/models/test/echo/predictions", json={"input": {"seconds": -1}})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-should-retry"] == "false"
    (field,) = answer.json()["invalid_fields"]
    assert (field["type"], field["field"]) == ("number_gte", "input.seconds")


@every
def test_a_version_can_be_read_of_whatever_is_run_by_it(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: a version of any model")


@every
def test_every_model_runs_by_its_name(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "run")


@every
def test_a_list_stays_a_list(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: lists stay lists")


def test_every_url_is_on_the_public_base(world: World, tmp_path: Path) -> None:
    base = "https://models.example.org"
    server = Server(tmp_path / "data", public_url=base)
    agent = None
    try:
        # The line that says where it listens comes first; the public URL is another line.
        server.start()
        agent = Agent(server, tmp_path / "agent", f"test/echo={HERE / 'models' / 'echo'}").ready()
        calls = server.calls()
        made = calls.create("test/echo", {"text": "x"}, Prefer="wait")
        file = calls.http.post("/v1/files", files={"content": b"x"}).json()
        model = calls.http.get("/v1/models/test/echo").json()
        urls = [*made["urls"].values(), *file["urls"].values(), model["url"]]
        assert all(url.startswith(f"{base}/") for url in urls)
    finally:
        if agent is not None:
            agent.close()
        server.close()


def test_headers_that_are_nice_to_have(world: World) -> None:
    http = httpx.Client(
        base_url=world.server.url, headers={"authorization": f"Bearer {limited(world.server, 'limited')}"}
    )
    with http:
        answer = http.post(
            "/v1/models/test/echo/predictions", json={"input": {"text": "x"}}, headers={"prefer": "wait=2"}
        )
        assert answer.status_code == 201
        assert answer.headers["preference-applied"] == "wait=2"
        assert answer.headers["location"] == answer.json()["urls"]["get"]
        assert int(answer.headers["ratelimit-remaining"]) < 600
        assert answer.headers["ratelimit-reset"]
        assert answer.headers["content-type"] == "application/json; charset=utf-8"


def test_a_token_at_its_rate_makes_python_2_wait_as_long_as_it_is_told(reports: dict[str, Report]) -> None:
    check(reports, "python2", "trap: too many creations")


def test_a_token_at_its_rate_is_told_to_programs_of_npm_which_can_wait(reports: dict[str, Report]) -> None:
    """npm's client sends again at once, whatever ``Retry-After`` says, and gives up with the last answer."""
    check(reports, "javascript", "trap: too many creations")


@every
def test_a_creation_that_is_sent_again_creates_once(reports: dict[str, Report], client: str) -> None:
    check(reports, client, "trap: created once")


def test_the_client_itself_is_no_input(reports: dict[str, Report], world: World) -> None:
    """npm's ``fileEncodingStrategy: "data-uri"`` sends the client, with its token, as the input."""
    check(reports, "javascript", "trap: a broken option of its own")
    assert world.server.command is not None
    assert not any(world.token in line for line in world.server.command.lines)


@every
def test_no_trap_of_a_program_goes_unseen(reports: dict[str, Report], client: str) -> None:
    source = Path(__file__).read_text()
    unseen = [name for name in reports[client] if name.startswith("trap: ") and f'"{name}"' not in source]
    assert not unseen
