"""Gives an operator's order to a server over HTTP: each order as a request to ``/v1/admin``."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from edge.commands.predicting.api import Api, Refused
from edge.control import (
    AskUsage,
    CancelPredictions,
    CreateToken,
    ImportTokens,
    ListAccounts,
    ListAudit,
    ListDead,
    ListModels,
    ListQueues,
    ListTokens,
    ListWorkers,
    MarkWorker,
    Order,
    PauseModel,
    Redrive,
    ResumeModel,
    RevokeToken,
    RotateToken,
    RotateWebhookSecret,
    SetAccount,
    SetModel,
    SetToken,
)
from edge.exits import CommandFailed, ExitCode
from edge.pages import decode_cursor, encode_cursor
from edge.times import rfc3339

PAGE = 1000


class Call(msgspec.Struct, frozen=True):
    """One request. What is ``listed`` comes in pages of ``results``; ``most`` of them are wanted."""

    method: str
    path: str
    body: Any = None
    listed: bool = False
    most: int | None = None
    one: bool = False
    """The order's result is a list of one, which the path names."""
    inside: bool = False
    """The answer is an object whose ``results`` are the order's."""
    base: str = "/v1/admin"
    after: bool = False
    """The answer's ``next`` is the cursor of where the order goes on."""


def give(server: str, token: str, order: Order) -> Any:
    """What the order gave. Raises CommandFailed."""
    return asyncio.run(_give(server, token, call_of(order)))


async def _give(server: str, token: str, call: Call) -> Any:
    async with Api(server, token) as api:
        try:
            answer = await api.call(call.method, f"{call.base}{call.path}", json=call.body)
            if call.after:
                cursor = answer.pop("next")
                return {**answer, "after": None if cursor is None else decode_cursor(cursor)}
            if call.inside:
                return answer["results"]
            if not call.listed:
                return [answer] if call.one else answer
            results = list(answer["results"])
            while answer["next"] and (call.most is None or len(results) < call.most):
                # The server's own URL of the next page may be another than ours of the server.
                query = answer["next"].partition("?")[2]
                answer = await api.call("GET", f"/v1/admin{call.path.partition('?')[0]}?{query}")
                results += answer["results"]
            return results[: call.most]
        except Refused as refusal:
            if refusal.status == 404:
                raise CommandFailed(refusal.message, ExitCode.NOT_FOUND) from None
            raise


def call_of(order: Order) -> Call:
    """Raises CommandFailed for what only the server's own machine can order."""
    make = _CALLS.get(type(order))
    if make is None:
        raise CommandFailed("this cannot be ordered with --server", ExitCode.USAGE, "give --data")
    return make(order)


def _body(order: Order, *without: str) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(order)
    return {
        name: value for name, value in said.items() if name not in ("order", *without) and value is not None
    }


def _query(**values: Any) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _token(order: Any) -> str:
    return f"/tokens/{quote(order.token, safe='')}"


def _tokens(order: ListTokens) -> Call:
    query = _query(account=order.account)
    if order.token is not None:
        return Call("GET", f"/tokens/{quote(order.token, safe='')}{query}", one=True)
    limit = _query(account=order.account, limit=PAGE)
    return Call("GET", f"/tokens{limit}", listed=True)


def _accounts(order: ListAccounts) -> Call:
    if order.account is not None:
        return Call("GET", f"/accounts/{quote(order.account, safe='')}", one=True)
    return Call("GET", "/accounts", listed=True)


def _set_account(order: SetAccount) -> Call:
    body = _body(order, "account", "storage_at_most")
    if order.storage_at_most is not None:
        body["storage_at_most_bytes"] = order.storage_at_most
    return Call("PATCH", f"/accounts/{quote(order.account, safe='')}", body)


def _audit(order: ListAudit) -> Call:
    query = _query(act=order.act, target=order.target, token=order.token, limit=min(order.limit, PAGE))
    return Call("GET", f"/audit{query}", listed=True, most=order.limit)


def _cancel(order: CancelPredictions) -> Call:
    body = _body(order, "after", "created_before")
    if order.after is not None:
        body["cursor"] = encode_cursor(order.after)
    if order.created_before is not None:
        body["created_before"] = rfc3339(order.created_before)
    return Call("POST", "/predictions/cancel", body, after=True)


def _models(order: ListModels) -> Call:
    if order.model is not None:
        return Call("GET", _model(order), one=True)
    return Call("GET", "/models", listed=True)


def _model(order: Any) -> str:
    owner, _, name = order.model.partition("/")
    return f"/models/{quote(owner, safe='')}/{quote(name, safe='')}"


def _looked_at(path: str) -> Callable[[Any], Call]:
    """Lists of workers and queues."""

    def call(order: ListWorkers | ListQueues) -> Call:
        query = _query(model=order.model, all="true" if order.all else None)
        return Call("GET", f"{path}{query}", listed=True)

    return call


def _usage(order: AskUsage) -> Call:
    said = {"from": order.first, "to": order.last, "group_by": ",".join(order.group_by)}
    query = _query(
        account=order.account or "*",
        token=order.token,
        end_user=order.end_user,
        model=order.model,
        **said,
    )
    return Call("GET", f"/usage{query}", base="/v1")


_CALLS: Mapping[type, Callable[[Any], Call]] = {
    CreateToken: lambda order: Call("POST", "/tokens", _body(order)),
    ImportTokens: lambda order: Call("POST", "/tokens/import", _body(order)),
    ListTokens: _tokens,
    SetToken: lambda order: Call("PATCH", _token(order) + _query(account=order.account), order.changes),
    RotateToken: lambda order: Call(
        "POST", f"{_token(order)}/rotate{_query(account=order.account)}", {"overlap_s": order.overlap_s}
    ),
    RevokeToken: lambda order: Call("DELETE", _token(order) + _query(account=order.account)),
    ListAccounts: _accounts,
    SetAccount: _set_account,
    RotateWebhookSecret: lambda order: Call(
        "POST", f"/accounts/{quote(order.account, safe='')}/webhook-secret"
    ),
    ListAudit: _audit,
    AskUsage: _usage,
    CancelPredictions: _cancel,
    ListDead: lambda order: Call(
        "GET", f"/predictions/dead{_query(model=order.model, limit=min(order.limit, PAGE))}", listed=True
    ),
    Redrive: lambda order: Call("POST", "/predictions/redrive", {"ids": order.ids}, inside=True),
    SetModel: lambda order: Call("PATCH", _model(order), order.changes),
    ListModels: _models,
    PauseModel: lambda order: Call("POST", f"{_model(order)}/pause", {"pool": order.pool}, inside=True),
    ResumeModel: lambda order: Call("POST", f"{_model(order)}/resume", {"pool": order.pool}, inside=True),
    ListQueues: _looked_at("/queues"),
    ListWorkers: _looked_at("/workers"),
    MarkWorker: lambda order: Call(
        "POST", f"/workers/{quote(order.worker, safe='')}/{order.mark}", {"model": order.model}, inside=True
    ),
}
