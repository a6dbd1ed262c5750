"""The OpenAPI document against the server that it describes: generated requests, with every check that
schemathesis has, and each operation brought to its success."""

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup

from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from edge.links import Links
from tests.support import trainings
from tests.support.edge import MODEL, VERSION, TestServer, register
from tests.support.examples import examples
from tests.support.listening import Listening, listening

# The server's thread draws random numbers while requests are generated.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

OWNER, NAME = MODEL.split("/")
TRAINABLE = trainings.MODEL.split("/")[1]
INPUT = {"text": "x"}
CONTENT = b"bytes"


class Api:
    """The server, its document, and things that exist on it."""

    def __init__(self, server: Listening, http: httpx.Client) -> None:
        self.server = server
        self.url = server.url
        self.headers = {"Authorization": f"Bearer {server.server.token}"}
        self.http = http
        http.headers.update(self.headers)
        config = schemathesis.Config.from_dict(
            {
                # Parameters that we do not know are passed over, as Replicate does.
                "generation": {"allow-extra-parameters": False},
                # What is well-formed may still name a version, cursor or input that is none here.
                "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 401, 403, 404, 422]}},
            }
        )
        document = self.http.get("/openapi.json").json()
        self.schema = schemathesis.openapi.from_dict(document, config=config)
        open_to_all = {name: value for name, value in document.items() if name != "security"}
        self.schema_of_others = schemathesis.openapi.from_dict(open_to_all, config=config)
        """Without tokens: what is wrong in a request is never that."""
        self.ended = server.do(_ended)
        self.dead = server.do(_dead)
        self.running = self.create()["id"]
        self.queued = self.create()["id"]
        self.file = self.upload()["id"]
        self.deploy("one")
        subject = {"name": "subject", "account": "other"}
        server.do(_spare_model)
        self.key = self.http.post("/v1/keys", json={"name": "a-key"}).json()["id"]
        self.subject = self.http.post("/v1/admin/tokens", json=subject).json()["id"]
        server.do(trainings.trainer)
        self.training = server.do(trainings.train)["id"]

    def operations(self, mode: GenerationMode = GenerationMode.POSITIVE) -> list[Any]:
        schema = self.schema if mode is GenerationMode.POSITIVE else self.schema_of_others
        return [found.ok() for found in schema.get_all_operations()]

    def create(self, **more: Any) -> dict[str, Any]:
        made = self.http.post(f"/v1/models/{MODEL}/predictions", json={"input": INPUT, **more})
        assert made.status_code == 201, made.text
        return dict(made.json())

    def upload(self) -> dict[str, Any]:
        return dict(self.http.post("/v1/files", files={"content": ("a", CONTENT)}).json())

    def deployment(self, name: str) -> dict[str, Any]:
        instances = {"min_instances": 0, "max_instances": 1}
        return {"name": name, "model": MODEL, "version": VERSION, "hardware": "cpu", **instances}

    def deploy(self, name: str) -> None:
        self.http.post("/v1/deployments", json=self.deployment(name)).raise_for_status()

    def seeds(self, path: str) -> dict[str, list[str]]:
        """Values of path parameters that lead to something."""
        ids = [self.file] if "/files/" in path else [self.ended["id"], self.running, self.queued]
        ids = [self.training] if path.startswith("/v1/trainings/") else ids
        names = ["one"] if "/deployments/" in path else [NAME]
        names = [TRAINABLE] if path.endswith("/trainings") else names
        owners = ["default"] if "/deployments/" in path else [OWNER]
        if "/v1/keys" in path:
            return {"key": [self.key]}
        stream = urlsplit(self.ended["urls"]["stream"]).path.rpartition("/")[2]
        if "/admin/" in path:
            return {
                "token": [self.subject],
                "account": ["other"],  # what becomes of it, or of that model, is nothing to the rest
                "owner": [OWNER],
                "name": ["spare"],
                "worker": ["box"],
            }
        return {"id": ids, "owner": owners, "name": names, "version": [VERSION], "token": [stream]}


async def _ended(server: TestServer) -> dict[str, Any]:
    """A prediction with a file as its output and a webhook, which has come to its end."""
    made = (
        await server.http.post(
            f"/v1/models/{MODEL}/predictions",
            json={
                "input": INPUT,
                "webhook": "http://127.0.0.1:1024/",
                "webhook_events_filter": ["completed"],
            },
        )
    ).json()
    dispatch = await server.agent.start()
    file = await server.upload(dispatch, "a.png", CONTENT, "image/png")
    server.agent.finish(dispatch, [f"{wire.BLOB_REFERENCE}{file.key}"], files=(file,))
    server.agent.offer()
    return await server.ended(made["id"])


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    limits = ServerLimits(wait_s=0.2, failed_logins_per_min=0, drain_s=1.0)
    path = tmp_path_factory.mktemp("api")
    with listening(path, limits) as server, httpx.Client(base_url=server.url, timeout=10) as http:
        yield Api(server, http)


def checked(api: Api, case: Case) -> Any:
    return case.call_and_validate(base_url=api.url, headers=api.headers)


def run(api: Api, mode: GenerationMode, few: int) -> None:
    """Generated requests to every operation. Fails with what is wrong, by operation."""
    wrong: dict[str, str] = {}
    for operation in api.operations(mode):
        if mode is GenerationMode.POSITIVE or _can_be_wrong(operation.definition.raw):
            _ask(api, operation, mode, few, wrong)
    assert not wrong, "\n\n".join(f"{what}: {text}" for what, text in wrong.items())


def _can_be_wrong(operation: dict[str, Any]) -> bool:
    """Whether the document forbids anything: a path, cursor or header may be any text."""
    queries = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    return "requestBody" in operation or any(
        each["required"] or each["schema"] != {"type": "string"} for each in queries
    )


def _ask(api: Api, operation: Any, mode: GenerationMode, few: int, wrong: dict[str, str]) -> None:
    # What is deleted would be missing for the others.
    seeds = {} if operation.method.upper() == "DELETE" else api.seeds(operation.path)

    @examples(few)
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def one(case: Case, data: st.DataObject) -> None:
        if mode is GenerationMode.POSITIVE:
            _lead_somewhere(case, seeds, data)
        try:
            checked(api, case)
        except FailureGroup as group:
            for each in group.exceptions:
                wrong.setdefault(f"{operation.label} {type(each).__name__}", str(each))

    one()


def _lead_somewhere(case: Case, seeds: dict[str, list[str]], data: st.DataObject) -> None:
    """Often, ids of what exists, and inputs that the model takes."""
    for name, value in (case.path_parameters or {}).items():
        case.path_parameters[name] = data.draw(st.sampled_from([*seeds.get(name, ()), value]))
    if isinstance(case.body, dict):
        for name, good in (
            ("input", INPUT),
            ("version", VERSION),
            ("destination", trainings.DESTINATION),
        ):
            if name in case.body:
                case.body[name] = data.draw(st.sampled_from([good, case.body[name]]))


def test_what_the_document_allows_is_served_as_it_says(api: Api) -> None:
    run(api, GenerationMode.POSITIVE, 4)


def test_what_the_document_forbids_is_refused(api: Api) -> None:
    run(api, GenerationMode.NEGATIVE, 3)


def successes(api: Api) -> dict[str, dict[str, Any]]:
    """What brings an operation to its success, where ids that exist are not enough."""
    server = api.server.server
    links = Links(api.url, server.services.signer, 3600.0, server.services.clock.now)
    output = urlsplit(api.ended["output"][0])
    made = f"{api.queued[:-1]}x"
    return {
        "create_prediction": {"body": {"version": VERSION, "input": INPUT}},
        "create_batch": {"body": {"predictions": [{"version": VERSION, "input": INPUT}]}},
        "put_prediction": {"path": {"id": f"own-{made}"}, "body": {"version": VERSION, "input": INPUT}},
        "create_model_prediction": {"body": {"input": INPUT}},
        "create_deployment_prediction": {"body": {"input": INPUT}},
        "list_deliveries": {"path": {"id": api.ended["id"]}},
        "redeliver_webhook": {"path": {"id": api.ended["id"]}},
        "delete_prediction": {"path": {"id": api.server.do(_canceled)}},
        "cancel_prediction": {"path": {"id": api.create()["id"]}},
        "create_training": {"body": trainings.BODY},
        "cancel_training": {"path": {"id": api.server.do(trainings.train)["id"]}},
        "delete_training": {"path": {"id": api.server.do(_canceled_training)}},
        "create_model": {
            "body": {"owner": "acme", "name": "new", "visibility": "private", "hardware": "cpu"}
        },
        "update_model": {
            "body": {"description": "greets", "readme": "# Greets", "examples": [api.ended["id"]]}
        },
        "list_examples": {"needs": ("PATCH", f"/v1/models/{MODEL}", {"examples": [api.ended["id"]]})},
        "get_readme": {"needs": ("PATCH", f"/v1/models/{MODEL}", {"readme": "# Greets"})},
        "delete_model": {
            "needs": (
                "POST",
                "/v1/models",
                {"owner": "acme", "name": "gone", "visibility": "private", "hardware": "cpu"},
            ),
            "path": {"owner": "acme", "name": "gone"},
        },
        "delete_version": {"path": {"owner": "acme", "name": "old", "version": api.server.do(_old_version)}},
        "search": {"query": {"query": "greeter"}},
        "create_deployment": {"body": api.deployment("two")},
        "update_deployment": {"body": {"max_instances": 2}},
        "delete_deployment": {
            "needs": ("POST", "/v1/deployments", api.deployment("three")),
            "path": {"name": "three"},
        },
        "create_file": {"body": {"content": CONTENT}, "media_type": "multipart/form-data"},
        "delete_file": {"path": {"id": api.upload()["id"]}},
        "download_file": {"query": dict(parse_qsl(urlsplit(links.download(api.file, "default")).query))},
        "get_stored": {
            "path": {"key": unquote(output.path.removeprefix("/files/"))},
            "query": dict(parse_qsl(output.query)),
        },
        "put_stored": api.server.do(_grant),
        "prediction_page": {"path": {"id": api.ended["id"]}},
        **administration(api.dead),
    }


def administration(dead: str) -> dict[str, dict[str, Any]]:
    """The same for what needs an administrator. ``dead`` is the id of a dead letter."""
    imported = {"label": "old", "secret": "a-secret-of-2022-with-enough-letters", "allow": True}
    return {
        "admin_create_token": {"body": {"name": "made", "account": "other"}},
        "admin_import_tokens": {"body": {"entries": [imported], "account": "other"}},
        "admin_update_token": {"body": {"share": 2}},
        "admin_rotate_token": {"body": {"overlap_s": 60}},
        "admin_revoke_token": {
            "needs": ("POST", "/v1/admin/tokens", {"name": "ending", "account": "other"}),
            "path": {"token": "ending"},
        },
        "admin_update_account": {"body": {"share": 2}},
        "create_key": {"body": {"name": "another-key"}},
        "rotate_key": {"body": {"overlap_s": 60}},
        "revoke_key": {
            "needs": ("POST", "/v1/keys", {"name": "ending-key"}),
            "path": {"key": "ending-key"},
        },
        "admin_update_model": {"body": {"retries": 1}},
        "admin_cancel_predictions": {"body": {"account": "other"}},
        "admin_redrive": {"body": {"ids": [dead]}},
        **{f"admin_{mark}_model": {"body": {}} for mark in ("pause", "resume")},
        **{f"admin_{mark}_worker": {"body": {}} for mark in ("drain", "resume", "quarantine", "release")},
    }


async def _canceled(server: TestServer) -> str:
    """A prediction that has ended, for nobody else to look at."""
    made = await server.create()
    await server.http.post(f"/v1/predictions/{made['id']}/cancel")
    return str(made["id"])


async def _canceled_training(server: TestServer) -> str:
    made = await trainings.train(server)
    await server.http.post(f"/v1/trainings/{made['id']}/cancel")
    return str(made["id"])


async def _old_version(server: TestServer) -> str:
    """A version that no worker serves."""
    await register(server.services.store, "acme/old", "b" * 64)
    return "b" * 64


async def _dead(server: TestServer) -> str:
    """A prediction whose output was lost."""
    made = await server.create()
    lost = {"error": "gone", "error_code": "output_lost"}
    server.agent.finish(await server.agent.start(), status="failed", **lost)
    server.agent.offer()
    await server.indexed(made["id"])
    return str(made["id"])


async def _spare_model(server: TestServer) -> None:
    await register(server.services.store, f"{OWNER}/spare", "d" * 64)


async def _grant(server: TestServer) -> dict[str, Any]:
    """Where the agent may put an output of what it runs."""
    made = await server.create()
    await server.http.post(f"/v1/predictions/{made['id']}/cancel")
    dispatch = await server.agent.start()
    asked = wire.Upload(
        channel=1,
        request=7,
        prediction=dispatch.prediction,
        attempt=dispatch.attempt,
        secret=dispatch.secret,
        name="b.txt",
        content_type="text/plain",
        length=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    server.agent.say(asked)
    grant = msgspec.structs.asdict(await server.agent.next(wire.UploadTo))
    url = urlsplit(grant["url"])
    return {
        "path": {"key": unquote(url.path.removeprefix("/uploads/"))},
        "query": dict(parse_qsl(url.query)),
        "body": CONTENT,
        "media_type": "application/octet-stream",
    }


def test_each_operation_reaches_its_success(api: Api) -> None:
    special = successes(api)
    operations = {operation.definition.raw["operationId"]: operation for operation in api.operations()}
    assert special.keys() <= operations.keys()
    wrong = {}
    for name, operation in operations.items():
        good = {status for status in operation.definition.raw["responses"] if status.startswith("2")}
        if not good:
            continue  # such as a collection: there are none
        given = special.get(name, {})
        if "needs" in given:
            method, url, body = given["needs"]
            api.http.request(method, url, json=body).raise_for_status()
        seeds = {key: values[0] for key, values in api.seeds(operation.path).items()}
        wanted = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
        body = {
            "media_type": "application/json",
            **{k: given[k] for k in ("body", "media_type") if k in given},
        }
        case = operation.Case(
            path_parameters={each: {**seeds, **given.get("path", {})}[each] for each in wanted},
            query=given.get("query", {}),
            **(body if "body" in given else {}),
        )
        answer = checked(api, case)
        if str(answer.status_code) not in good:
            wrong[operation.label] = f"{answer.status_code} {answer.text[:300]}"
    assert not wrong
