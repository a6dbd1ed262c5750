"""Promise of webhooks: at least once, same id, same bytes, signed, whatever is killed."""

import threading
from collections.abc import Callable

from standardwebhooks import Webhook

from tests.conftest import Trace
from tests.support.commands import Agent, Server, run
from tests.support.receiver import Received, Reply, receiver

LOCAL = ("--allow-private", "127.0.0.0/8")


def ends(requests: list[Received]) -> list[Received]:
    return [request for request in requests if request.json["status"] == "succeeded"]


def test_kill_9_between_the_commit_and_the_answer(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    server = serve(*LOCAL)
    work(server).ready()
    calls = server.calls()
    secret = calls.http.get("/v1/webhooks/default/secret").json()["key"]
    with receiver() as hook:
        never = threading.Event()
        hook.answer = lambda request: Reply(hold=never)
        body = {
            "model": "test/waiter",
            "input": trace.input("p", wait=False),
            "webhook": hook.url,
            "webhook_events_filter": ["completed"],
        }
        ids = [calls.http.post("/v1/predictions", json=body).json()["id"] for _ in range(3)]
        hook.wait_for(lambda found: len(ends(found)) == 3, "three requests that are not answered")
        server.kill()
        hook.answer = lambda request: Reply(200)
        never.set()
        server.start()
        found = hook.wait_for(lambda found: len(ends(found)) >= 6, "each is sent again")
        for id in ids:
            sent = [request for request in found if request.json["id"] == id]
            assert len(sent) == 2
            assert len({(request.headers["webhook-id"], request.body) for request in sent}) == 1
            for request in sent:
                Webhook(secret).verify(request.body, request.headers)


def test_kill_9_while_the_receiver_is_away(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    server = serve(*LOCAL)
    work(server).ready()
    calls = server.calls()
    with receiver() as gone:
        port = gone.port
    body = {"model": "test/waiter", "input": trace.input("p", wait=False)}
    url = f"http://127.0.0.1:{port}/"
    id = calls.http.post("/v1/predictions", json={**body, "webhook": url}).json()["id"]
    calls.ended(id)
    server.kill()
    with receiver(port) as hook:
        server.start()
        found = hook.wait_for(lambda found: bool(ends(found)), "it is sent to the receiver that is back")
        assert ends(found)[0].json["id"] == id


def test_rotation_by_the_command_while_the_server_runs(serve: Callable[..., Server]) -> None:
    server = serve(*LOCAL)
    http = server.client()
    before = http.get("/v1/webhooks/default/secret").json()["key"]
    rotated = run("account", "rotate-webhook-secret", "default", "--data", str(server.data))
    assert rotated.returncode == 0, rotated.stderr
    after = http.get("/v1/webhooks/default/secret").json()["key"]
    assert rotated.stdout.strip() == after != before
    unknown = run("account", "rotate-webhook-secret", "nobody", "--data", str(server.data))
    assert unknown.returncode != 0
    assert "there is no account nobody" in unknown.stderr


def test_a_network_that_is_none_is_refused(tmp_path: object) -> None:
    refused = run("serve", "--allow-private", "home", "--data", f"{tmp_path}/data")
    assert refused.returncode == 2
    assert "--allow-private" in refused.stderr
