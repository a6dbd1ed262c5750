"""OpenAI's API in front of the models: ``/openai/v1/models``, ``chat/completions``, ``images/generations``.

Its clients need the base URL ``https://HOST/openai/v1`` and a token of ours as their key. Which input of a
model takes what is in ``inputs.py``. Errors have OpenAI's shape; its own document describes these paths.
"""

from typing import Any

import msgspec
from litestar import get, post
from litestar.types import ASGIApp

from coordinator.store.models import ModelRow
from edge.context import authorized, json_reply
from edge.errors import not_found
from edge.file_urls import all_contents
from edge.hangups import HungUp
from edge.openai.answers import Failed, completion, ending, error, text_of_output, usage
from edge.openai.inputs import Mapped
from edge.openai.running import begun, finished, target_of
from edge.openai.stream import ChatFrames, ChatStream
from edge.openai.words import chat_body, images_body
from edge.problems import problem_of
from edge.replies import Header, HTTPRequest, Reply, read_body
from edge.schemas import encode

MOST_MODELS = 1000
"""Models in the list: its clients know no pages."""
_GONE = 499
"""For whoever has hung up: nobody reads it."""


def _refused(request: HTTPRequest, raised: Exception) -> Reply:
    if isinstance(raised, HungUp):
        return Reply(status=_GONE)
    problem = problem_of(request, raised)
    status, body = error(problem)
    headers: list[Header] = list(problem.headers)
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % problem.retry_after_s))
    if isinstance(problem, Failed):
        headers.append((b"x-should-retry", b"false"))
    return Reply(encode(body), status, headers=tuple(headers))


_ERRORS: dict[Any, Any] = {Exception: _refused}


@get("/openai/v1/models", exception_handlers=_ERRORS, include_in_schema=False, opt={"keys": True})
async def list_models(request: HTTPRequest) -> ASGIApp:
    """The models that the token sees."""
    edge, principal = await authorized(request, "read")
    rows, _ = await edge.services.store.models.list(principal.account, None, MOST_MODELS)
    return json_reply({"object": "list", "data": [_model(row) for row in rows]})


@get(
    "/openai/v1/models/{owner:str}/{name:str}",
    exception_handlers=_ERRORS,
    include_in_schema=False,
    opt={"keys": True},
)
async def get_model(request: HTTPRequest) -> ASGIApp:
    """One model."""
    edge, principal = await authorized(request, "read")
    name = f"{request.path_params['owner']}/{request.path_params['name']}"
    row = await edge.catalog.model(principal.account, name)
    if row is None:
        raise not_found(f"The model {name[:200]!r} does not exist.")
    return json_reply(_model(row))


@post(
    "/openai/v1/chat/completions",
    opt={"keys": True, "creates": True},
    exception_handlers=_ERRORS,
    include_in_schema=False,
)
async def create_completion(request: HTTPRequest) -> ASGIApp:
    """An answer to a conversation, whole or as it is said."""
    edge, principal = await authorized(request, "submit")
    limits, clock = edge.services.limits, edge.services.clock
    asked, given = chat_body(await read_body(request, limits.body_bytes))
    target = await target_of(edge, principal, asked.model)
    found = Mapped(target.config.openai or {}, target.schema).chat(asked.messages, given)
    count = asked.n or 1
    if count > 1:
        edge.throttle.charge(principal, creates=True, count=count - 1)
    documents = await begun(
        edge, request, principal, target, [found] * count, asked.user, given.get("metadata")
    )
    created = clock.now() // 1_000_000
    most = given.get("max_completion_tokens") or given.get("max_tokens")
    if asked.stream:
        options = asked.stream_options
        frames = ChatFrames(
            edge,
            documents[0],
            model=asked.model,
            created=created,
            most=most,
            with_usage=options is not None and bool(options.include_usage),
        )
        return ChatStream(edge, documents[0], frames, token=principal.token)
    done = await finished(edge, request, principal, documents)
    texts = [
        (text_of_output(each, edge.render.value(each.output, each.files)), ending(each, most))
        for each in done
    ]
    answer = completion(done[0].id, created, asked.model, texts)
    if (counted := usage(done)) is not None:
        answer["usage"] = counted
    return json_reply(answer)


@post(
    "/openai/v1/images/generations",
    opt={"keys": True, "creates": True},
    exception_handlers=_ERRORS,
    include_in_schema=False,
)
async def create_images(request: HTTPRequest) -> ASGIApp:
    """Images of a prompt, by URL or in the answer."""
    edge, principal = await authorized(request, "submit")
    limits, clock = edge.services.limits, edge.services.clock
    asked, given = images_body(await read_body(request, limits.body_bytes))
    target = await target_of(edge, principal, asked.model)
    found, count = Mapped(target.config.openai or {}, target.schema).images(asked.prompt, given)
    if count > 1:
        edge.throttle.charge(principal, creates=True, count=count - 1)
    documents = await begun(
        edge, request, principal, target, [found] * count, asked.user, given.get("metadata")
    )
    created = clock.now() // 1_000_000
    inside = asked.response_format == "b64_json"
    data: list[dict[str, str]] = []
    for document in await finished(edge, request, principal, documents):
        contents = await all_contents(edge, document) if inside else {}
        output = msgspec.json.decode(edge.render.value(document.output, document.files, contents))
        data += [_image(item, inside) for item in (output if isinstance(output, list) else [output])]
    return json_reply({"created": created, "data": data})


def _image(item: Any, inside: bool) -> dict[str, str]:
    if not isinstance(item, str) or not item.startswith(("http:", "https:", "data:")):
        raise Failed("internal", "The model's output is no image.")
    if not inside:
        return {"url": item}
    head, _, content = item.partition(";base64,")
    if not head.startswith("data:") or not content:
        detail = "The image has no room in an answer (limit: data_url_bytes): ask for response_format url."
        raise Failed("internal", detail)
    return {"b64_json": content}


def _model(row: ModelRow) -> dict[str, Any]:
    return {
        "id": row.model,
        "object": "model",
        "created": row.created_at // 1_000_000,
        "owned_by": row.model.partition("/")[0],
    }


HANDLERS = [list_models, get_model, create_completion, create_images]
