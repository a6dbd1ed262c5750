"""Orders over HTTP: what can be ordered on the server's machine can be from elsewhere, in the same words."""

from typing import Any, get_args

import httpx
import msgspec
import pytest

from coordinator.store.token_changes import CHANGEABLE
from edge import control, remote
from edge.audit import By
from edge.commands.predicting import api
from edge.control import Done, Order, Refusal
from edge.exits import CommandFailed, ExitCode
from edge.routes import keys
from edge.routes.admin import shapes
from tests.support.edge import BASE, MODEL, TestServer

HERE_ALONE = {
    control.AskStatus,
    control.StartBackup,
    control.AskBackup,
    control.StopBackup,
    control.ReadLogs,
    control.CreateKey,
    control.ListKeys,
    control.RotateKey,
    control.RevokeKey,
}
"""What is about the server's own process and disk; and what an account's token orders for itself."""


def fields(kind: Any) -> set[str]:
    return set(kind.__struct_fields__)


def test_each_order_has_a_request() -> None:
    missing = {kind for kind in get_args(Order) if kind not in remote._CALLS}
    assert missing == HERE_ALONE


def test_what_an_order_says_a_request_may_say() -> None:
    assert fields(control.CreateToken) == fields(shapes.TokenBody)
    assert fields(control.ImportTokens) == fields(shapes.ImportBody)
    assert fields(control.ImportedToken) == fields(shapes.ImportedBody)
    assert {*CHANGEABLE, "expire_s"} - {"expires_at"} == fields(shapes.TokenChanges)
    changes = fields(control.SetAccount) - {"account", "storage_at_most"} | {"storage_at_most_bytes"}
    assert changes == fields(shapes.AdminAccountChanges)
    assert fields(control.CancelPredictions) - {"after"} == fields(shapes.CancelBody) - {"cursor"}
    assert fields(control.CreateKey) - {"maker"} == fields(keys.KeyBody)


def test_what_only_the_servers_machine_can_do_says_so() -> None:
    with pytest.raises(CommandFailed, match="cannot be ordered with --server"):
        remote.call_of(control.AskStatus())


ORDERS: list[Any] = [
    control.CreateToken(name="bot", account="acme", expire_s=60.0, models=("a/*",), replicate="r8_x"),
    control.CreateToken(name="gpu", worker="fast", scopes=("worker",), pools=("fast",)),
    control.SetToken(token="bot", changes={"share": 2.0, "expire_s": None, "models": []}),
    control.RotateToken(token="bot", overlap_s=5.0, account="acme"),
    control.ListTokens(),
    control.ListTokens(account="acme"),
    control.ListTokens(token="bot", account="acme"),
    control.RevokeToken(token="bot", account="acme"),
    control.ImportTokens(
        account="old",
        entries=(control.ImportedToken(label="x", secret="s" * 24, allow=True),),
        dry_run=True,
    ),
    control.SetAccount(account="acme", share=2.0, storage_at_most=1000),
    control.ListAccounts(),
    control.ListAccounts(account="acme"),
    control.RotateWebhookSecret(account="acme"),
    control.SetModel(model=MODEL, changes={"run_s": 60.0, "overflow": None, "visibility": "public"}),
    control.ListModels(),
    control.ListModels(model=MODEL),
    control.PauseModel(model=MODEL),
    control.ListQueues(model=MODEL),
    control.ListQueues(all=True),
    control.ResumeModel(model=MODEL, pool="default"),
    control.ListWorkers(model=MODEL, all=True),
    control.MarkWorker(worker="box", mark="drain"),
    control.MarkWorker(worker="box", mark="resume", model=MODEL),
    control.CancelPredictions(model=MODEL, created_before=1_700_000_000_000_000, dry_run=True),
    control.ListDead(model=MODEL, limit=5000),
    control.ListAudit(act="token", limit=2),
    control.RevokeToken(token="nobody"),
    control.Redrive(ids=("nothing",)),
    control.SetModel(model="acme/none", changes={"run_s": 60.0}),
    control.CreateToken(name="-"),
    control.MarkWorker(worker="nobody", mark="release"),
]


async def test_an_order_gives_the_same_over_http(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = httpx.AsyncClient

    def inside(**_: Any) -> httpx.AsyncClient:
        return client(transport=httpx.ASGITransport(server.app))

    monkeypatch.setattr(api.httpx, "AsyncClient", inside)
    for order in ORDERS:
        near = await server.orders.carry_out(order, By(door="socket", who="me"))
        call = remote.call_of(order)
        if isinstance(near, Refusal):
            with pytest.raises(CommandFailed) as refused:
                await remote._give(BASE, server.token, call)
            assert near.message in refused.value.message
            assert refused.value.code == ExitCode(near.code)
        else:
            assert isinstance(near, Done)
            if isinstance(order, control.CreateToken):  # twice is once too often
                await remote._give(BASE, server.token, remote.call_of(_named(order, f"{order.name}2")))
                continue
            assert _shape(await remote._give(BASE, server.token, call)) == _shape(near.result), order


def _named(order: control.CreateToken, name: str) -> control.CreateToken:
    return msgspec.structs.replace(order, name=name)


def _shape(result: Any) -> Any:
    """The names in what an order gave: some values are of the moment, or made by the first order."""
    if isinstance(result, list):
        return [_shape(each) for each in result[:1]]
    return sorted(result)
