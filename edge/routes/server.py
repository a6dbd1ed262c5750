"""The server itself: health, its OpenAPI document, the account behind a token, and what a stranger gets."""

from litestar import HttpMethod, get, route
from litestar.types import ASGIApp

from edge.context import authorized, edge_of, json_reply
from edge.errors import Problem, not_found
from edge.openapi import document
from edge.replies import TEXT, HTTPRequest, Reply
from edge.schemas import AccountOut, WebhookSecretOut

_READ = [HttpMethod.GET, HttpMethod.HEAD]


@route("/", http_method=_READ)
async def front_page(request: HTTPRequest) -> ASGIApp:
    """What this is."""
    base = edge_of(request).links.base
    text = (
        "Cogflare: an inference API on your own machines.\n\n"
        f"Clients speak Replicate's HTTP API to {base}/v1, with a token of this server.\n"
        f"The API's description is {base}/openapi.json; the documentation is in docs/ of the source.\n"
    )
    return Reply(text.encode(), content_type=TEXT)


@route("/healthz", http_method=_READ)
async def healthz(request: HTTPRequest) -> ASGIApp:
    """200 while the process answers."""
    return json_reply({"status": "ok"})


@route("/readyz", http_method=_READ)
async def readyz(request: HTTPRequest) -> ASGIApp:
    """200 once everything that was at work before a restart is back; 503 before that and while stopping."""
    if not edge_of(request).services.ready:
        raise Problem("unavailable", "The server is starting or stopping.", retry_after_s=1)
    return json_reply({"status": "ready"})


@route("/openapi.json", http_method=_READ)
async def openapi(request: HTTPRequest) -> ASGIApp:
    """The OpenAPI document of this API."""
    return json_reply(document(request.app, edge_of(request).links.base))


@get("/v1/account", opt={"keys": True})
async def get_account(request: HTTPRequest) -> ASGIApp:
    """The account that the token belongs to."""
    _, principal = await authorized(request, "read")
    return json_reply(AccountOut(username=principal.account, name=principal.account))


@get("/v1/webhooks/default/secret")
async def get_webhook_secret(request: HTTPRequest) -> ASGIApp:
    """The secret that signs the account's webhooks; made when it is asked for the first time."""
    edge, principal = await authorized(request, "read")
    return json_reply(WebhookSecretOut(key=await edge.services.webhooks.secrets.secret(principal.account)))


@get("/p/{id:str}")
async def prediction_page(request: HTTPRequest) -> ASGIApp:
    """Where ``urls.web`` of a prediction leads: says how to read it. Nothing is looked up."""
    edge = edge_of(request)
    id = request.path_params["id"]
    if edge.services.ids.number(id) is None:
        raise not_found()
    text = f"Prediction {id}\n\nRead it with your token: GET {edge.links.prediction(id)}\n"
    return Reply(text.encode(), content_type=TEXT)


HANDLERS = [front_page, healthz, readyz, openapi, get_account, get_webhook_secret, prediction_page]
