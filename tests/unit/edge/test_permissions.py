"""Who may do what: each route, by each scope, from another account, and with a user's key.

The rows are checked against the router: a route without a row fails, and so does a row without a route.
"""

from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pytest
from litestar import Litestar

from coordinator.protocol.limits import ServerLimits
from coordinator.store.tokens import SCOPES
from edge.routes.discovery import QUERY_PATH
from tests.support import trainings
from tests.support.edge import MODEL, VERSION, TestServer

Foreign = Literal["hidden", "apart", "all"]


@dataclass(frozen=True)
class Rule:
    """``scope`` is what a token needs, None for nothing at all. ``foreign`` is what another account gets of
    what is there: nothing (``hidden``: 404), its own alone (``apart``), or the same as everybody (``all``).
    ``key``: whether a user's key may, too."""

    scope: str | None
    foreign: Foreign = "hidden"
    key: bool = False


PUBLIC = Rule(None, "all", True)
ADMIN = Rule("admin", "all")
RULES = {
    "GET /": PUBLIC,
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /p/{id}": PUBLIC,
    "GET /v1/predictions": Rule("read", "apart", key=True),
    "POST /v1/predictions": Rule("submit", "apart", key=True),
    "POST /v1/predictions/batch": Rule("submit", "apart", key=True),
    "GET /v1/predictions/{id}": Rule("read", key=True),
    "PUT /v1/predictions/{id}": Rule("submit", "apart"),
    "DELETE /v1/predictions/{id}": Rule("submit", key=True),
    "GET /v1/predictions/{id}/why": Rule("read", key=True),
    "POST /v1/predictions/{id}/cancel": Rule("submit", key=True),
    "GET /v1/predictions/{id}/webhooks": Rule("read", key=True),
    "POST /v1/predictions/{id}/redeliver": Rule("submit", key=True),
    "GET /v1/models": Rule("read", "apart", key=True),
    "POST /v1/models": Rule("worker", "apart"),
    f"POST {QUERY_PATH}": Rule("read", "apart", key=True),
    "GET /v1/models/{owner}/{name}": Rule("read", key=True),
    "PATCH /v1/models/{owner}/{name}": Rule("worker"),
    "DELETE /v1/models/{owner}/{name}": Rule("admin"),
    "GET /v1/models/{owner}/{name}/readme": Rule("read", key=True),
    "GET /v1/models/{owner}/{name}/examples": Rule("read", key=True),
    "GET /v1/models/{owner}/{name}/versions": Rule("read", key=True),
    "GET /v1/models/{owner}/{name}/versions/{version}": Rule("read", key=True),
    "DELETE /v1/models/{owner}/{name}/versions/{version}": Rule("admin"),
    "POST /v1/models/{owner}/{name}/predictions": Rule("submit", key=True),
    "POST /v1/models/{owner}/{name}/versions/{version}/trainings": Rule("submit", "apart"),
    "GET /v1/trainings": Rule("read", "apart"),
    "GET /v1/trainings/{id}": Rule("read"),
    "DELETE /v1/trainings/{id}": Rule("submit"),
    "POST /v1/trainings/{id}/cancel": Rule("submit"),
    "GET /v1/hardware": Rule("read", "all", key=True),
    "GET /v1/collections": Rule("read", "all", key=True),
    "GET /v1/collections/{slug}": Rule("read", key=True),
    "GET /v1/search": Rule("read", "apart", key=True),
    "GET /v1/deployments": Rule("read", "apart"),
    "POST /v1/deployments": Rule("submit", "apart"),
    "GET /v1/deployments/{owner}/{name}": Rule("read"),
    "PATCH /v1/deployments/{owner}/{name}": Rule("submit"),
    "DELETE /v1/deployments/{owner}/{name}": Rule("submit"),
    "POST /v1/deployments/{owner}/{name}/predictions": Rule("submit", key=True),
    "GET /v1/files": Rule("read", "apart"),
    "POST /v1/files": Rule("submit", "apart", key=True),
    "GET /v1/files/{id}": Rule("read"),
    "DELETE /v1/files/{id}": Rule("submit"),
    # Signed URLs: whoever has one may.
    "GET /v1/files/{id}/download": PUBLIC,
    "GET /files/{key}": PUBLIC,
    "PUT /uploads/{key}": PUBLIC,
    "GET /v1/streams/{token}": PUBLIC,
    "GET /v1/files/streams/{token}": PUBLIC,
    "POST /v1/overflow/{id}/{attempt}/{mark}": PUBLIC,
    "GET /v1/account": Rule("read", "apart", key=True),
    "GET /v1/account/storage": Rule("read", "apart"),
    "GET /v1/usage": Rule("read", "apart", key=True),
    "GET /v1/webhooks/default/secret": Rule("read", "apart"),
    "GET /v1/keys": Rule("keys", "apart"),
    "POST /v1/keys": Rule("keys", "apart"),
    "GET /v1/keys/{key}": Rule("keys"),
    "POST /v1/keys/{key}/rotate": Rule("keys"),
    "DELETE /v1/keys/{key}": Rule("keys"),
    "GET /openai/v1/models": Rule("read", "apart", key=True),
    "GET /openai/v1/models/{owner}/{name}": Rule("read", key=True),
    "POST /openai/v1/chat/completions": Rule("submit", "apart", key=True),
    "POST /openai/v1/images/generations": Rule("submit", "apart", key=True),
    "GET /v1/admin/accounts": ADMIN,
    "GET /v1/admin/accounts/{account}": ADMIN,
    "PATCH /v1/admin/accounts/{account}": ADMIN,
    "POST /v1/admin/accounts/{account}/webhook-secret": ADMIN,
    "GET /v1/admin/tokens": ADMIN,
    "POST /v1/admin/tokens": ADMIN,
    "POST /v1/admin/tokens/import": ADMIN,
    "GET /v1/admin/tokens/{token}": ADMIN,
    "PATCH /v1/admin/tokens/{token}": ADMIN,
    "DELETE /v1/admin/tokens/{token}": ADMIN,
    "POST /v1/admin/tokens/{token}/rotate": ADMIN,
    "GET /v1/admin/workers": ADMIN,
    "POST /v1/admin/workers/{worker}/drain": ADMIN,
    "POST /v1/admin/workers/{worker}/resume": ADMIN,
    "POST /v1/admin/workers/{worker}/quarantine": ADMIN,
    "POST /v1/admin/workers/{worker}/release": ADMIN,
    "GET /v1/admin/models": ADMIN,
    "GET /v1/admin/models/{owner}/{name}": ADMIN,
    "PATCH /v1/admin/models/{owner}/{name}": ADMIN,
    "POST /v1/admin/models/{owner}/{name}/pause": ADMIN,
    "POST /v1/admin/models/{owner}/{name}/resume": ADMIN,
    "GET /v1/admin/queues": ADMIN,
    "POST /v1/admin/predictions/cancel": ADMIN,
    "GET /v1/admin/predictions/dead": ADMIN,
    "POST /v1/admin/predictions/redrive": ADMIN,
    "GET /v1/admin/audit": ADMIN,
    "GET /metrics": ADMIN,
    "GET /v1/admin/scale": ADMIN,
}
OF_2022 = {
    "GET /v1/models/{owner}/{name}/websocket",
    "GET /v1/models/{owner}/{name}/websocket/{rest}",
    "GET /v1/models/{owner}/{name}/websockets/{rest}",
    "GET /v1/models/{owner}/{name}/files/{rest}",
    "POST /v1/models/{owner}/{name}/files/{rest}",
    "PUT /v1/models/{owner}/{name}/files/{rest}",
    "POST /v1/models/{owner}/{name}/files",
    "PUT /v1/models/{owner}/{name}/files",
    "GET /outputs/{key}",
}
"""The workers' of 2022 and what they stored, whose rights lie in paths: ``test_legacy_door.py``."""


class Places:
    """A server where the account ``default`` has one of everything; ``real`` paths lead to it."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        self.secrets: dict[str, str] = {}
        self.real: dict[str, str] = {}
        self.marks: list[str] = []
        """What only ``default`` may be shown."""

    async def furnish(self) -> None:
        server, http = self.server, self.server.http
        for scope in SCOPES:
            self.secrets[scope] = await server.secret(f"only-{scope}", scopes=(scope,))
        self.secrets["foreign"] = await server.secret("foreign", account="other", scopes=("admin",))
        made = (await http.post("/v1/keys", json={"name": "ann"})).json()
        self.secrets["key"] = made["key"]
        prediction = (await server.create())["id"]
        file = (await http.post("/v1/files", files={"content": ("a", b"x")})).json()["id"]
        deployment = {"name": "one", "model": MODEL, "version": VERSION, "hardware": "cpu"}
        counts = {"min_instances": 0, "max_instances": 1}
        assert (await http.post("/v1/deployments", json={**deployment, **counts})).status_code == 200
        await trainings.trainer(server)
        training = (await trainings.train(server))["id"]
        self.real = {
            "id": prediction,
            "training": training,
            "file": file,
            "key": made["id"],
            "version": VERSION,
            "owner": MODEL.split("/")[0],
            "name": MODEL.split("/")[1],
        }
        self.marks = [prediction, training, file, made["id"], MODEL.split("/")[1], '"one"']

    def path(self, route: str, *, real: bool) -> str:
        path = route.partition(" ")[2]
        given = dict(self.real)
        if "/v1/files/" in path:
            given["id"] = given["file"]
        if "/v1/trainings/" in path:
            given["id"] = given["training"]
        if "/v1/deployments/" in path:
            given |= {"owner": "default", "name": "one"}
        for part in path.split("/"):
            if part.startswith("{"):
                path = path.replace(part, given.get(part[1:-1], "1") if real else "1")
        return path

    async def ask(self, route: str, secret: str, *, real: bool) -> httpx.Response:
        method = route.partition(" ")[0]
        more: dict[str, Any] = {"json": {}} if method in ("POST", "PUT", "PATCH") else {}
        headers = {"authorization": f"Bearer {secret}" if secret else ""}
        url = self.path(route, real=real)
        query = {"query": "acme"} if "search" in url else {}
        if url.startswith("/files/"):
            query = {"signature": "x"}  # without one it is the path of a file under /v1
        return await self.server.http.request(method, url, headers=headers, params=query, **more)


def code_of(answer: httpx.Response) -> str:
    """Of a refusal, in the shape of whichever API it is."""
    problem = answer.json()
    return str(problem.get("error", problem)["code"])


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(requests_per_min=0, creations_per_min=0, failed_logins_per_min=0)


@pytest.fixture
async def places(server: TestServer) -> Places:
    places = Places(server)
    await places.furnish()
    return places


def test_each_route_has_a_row_and_each_row_a_route(places: Places) -> None:
    app: Litestar = places.server.app._app
    served = {
        f"{method} {route.path_format}"
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    }
    assert served == RULES.keys() | OF_2022


async def test_each_scope_may_what_its_row_says_and_nothing_else(places: Places) -> None:
    wrong = []
    for route, rule in RULES.items():
        for scope in SCOPES:
            answer = await places.ask(route, places.secrets[scope], real=False)
            lacks = answer.status_code == 403 and code_of(answer) == "missing_scope"
            if answer.status_code in (401, 500) or lacks is (rule.scope in (None, scope) or scope == "admin"):
                wrong.append(f"{route} by {scope}: {answer.status_code} {answer.text}")
    assert not wrong


async def test_nothing_but_what_is_public_is_for_strangers(places: Places) -> None:
    wrong = []
    for route, rule in RULES.items():
        for secret in ("", "cf_nobodys"):
            answer = await places.ask(route, secret, real=True)
            if (answer.status_code == 401) is (rule.scope is None):
                wrong.append(f"{route}: {answer.status_code} {answer.text}")
    assert not wrong


async def test_another_account_finds_nothing(places: Places) -> None:
    wrong = []
    for route, rule in RULES.items():
        if rule.foreign == "all":
            continue
        answer = await places.ask(route, places.secrets["foreign"], real=True)
        shown = [mark for mark in places.marks if mark in answer.text and mark not in str(answer.url)]
        if shown or (rule.foreign == "hidden" and answer.status_code != 404):
            wrong.append(f"{route}: {answer.status_code} {answer.text}")
        if answer.status_code in (401, 403, 500):
            wrong.append(f"{route} was not even tried: {answer.status_code} {answer.text}")
    assert not wrong
    for route in RULES:
        if route.startswith("GET /v1/") and RULES[route].foreign == "hidden" and "slug" not in route:
            # Nothing was taken away or changed by the other account's tries.
            answer = await places.ask(route, places.server.token, real=True)
            assert answer.status_code == 200 or "readme" in route, route


async def test_a_users_key_may_what_its_rows_say_and_nothing_else(places: Places) -> None:
    wrong = []
    for route, rule in RULES.items():
        answer = await places.ask(route, places.secrets["key"], real=True)
        refused = answer.status_code == 403 and code_of(answer) in ("missing_scope", "not_allowed")
        if answer.status_code in (401, 500) or refused is rule.key:
            wrong.append(f"{route}: {answer.status_code} {answer.text}")
        if "/v1/predictions/" in route and rule.key and places.real["id"] in answer.text:
            wrong.append(f"{route} shows what another one made: {answer.text}")
    assert not wrong
