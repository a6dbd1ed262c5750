"""What predictions came to, over HTTP and on the command line, and what a day's limits refuse."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.metering import DAY_US
from coordinator.protocol.limits import ServerLimits
from coordinator.today import Owner
from edge.cli import main
from edge.control import AskUsage, SetAccount
from edge.times import parse_rfc3339
from edge.usage import as_csv
from tests.support.edge import MODEL, TestServer, running
from tests.support.waiting import until

PATH = f"/v1/models/{MODEL}/predictions"
BODY = {"input": {"text": "x"}}


async def usage(server: TestServer, **query: str) -> dict[str, Any]:
    answer = await server.http.get("/v1/usage", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def with_token(server: TestServer, **options: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {await server.secret('bot', **options)}"}


async def run(server: TestServer, headers: dict[str, str] | None = None, **body: Any) -> None:
    made = await server.http.post(PATH, json=BODY | body, headers=headers or {})
    assert made.status_code == 201, made.text
    server.agent.finish(await server.agent.start(), "x")
    server.agent.offer()
    await server.indexed(made.json()["id"])


def refused(answer: Any, *words: str) -> dict[str, Any]:
    problem = dict(answer.json())
    assert (answer.status_code, problem["code"]) == (429, "daily_limit"), answer.text
    for word in words:
        assert word in problem["detail"]
    ends = parse_rfc3339(problem["detail"].rpartition(" ends at ")[2].removesuffix("."))
    assert ends is not None
    assert ends % DAY_US == 0
    assert 0 < int(answer.headers["retry-after"]) <= DAY_US / 1e6
    assert answer.headers["x-should-retry"] == "false"
    return problem


class TestReports:
    async def test_what_was_asked_is_broken_down(self, server: TestServer) -> None:
        await server.services.store.models.configure(
            MODEL, {"price_per_second": 0.5, "price_per_prediction": 0.1}
        )
        await run(server, end_user="ann")
        await run(server, end_user="=1+1")
        today = datetime.now(UTC).date().isoformat()
        found = await usage(server, group_by="day,model,end_user")
        assert (found["to"], found["account"], found["currency"]) == (today, "default", "USD")
        assert [(line["day"], line["model"], line["end_user"]) for line in found["results"]] == [
            (today, MODEL, "=1+1"),
            (today, MODEL, "ann"),
        ]
        line = found["results"][1]
        assert (line["created"], line["succeeded"], line["overflow_predictions"]) == (1, 1, 0)
        assert 0 < line["run_seconds"] <= 0.5
        assert line["spend"] == pytest.approx(line["run_seconds"] * 0.5 + 0.1)
        assert found["total"]["succeeded"] == 2
        of_ann = await usage(server, end_user="ann", group_by="token")
        assert [line["token_name"] for line in of_ann["results"]] == [
            token.name
            for token in await server.services.store.tokens.list("default")
            if "admin" in token.scopes
        ]
        in_all = await usage(server, group_by="")
        assert [line["succeeded"] for line in in_all["results"]] == [2]
        past = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        assert (await usage(server, to=past))["results"] == []
        # The same as a table: by parameter, by header, and with nothing that a spreadsheet would carry out.
        one = await server.http.get("/v1/usage", params={"group_by": "end_user", "format": "csv"})
        two = await server.http.get("/v1/usage?group_by=end_user", headers={"accept": "text/csv"})
        assert one.text == two.text
        assert one.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(one.text.splitlines()))
        assert [(row["end_user"], row["succeeded"], row["currency"]) for row in rows] == [
            ("'=1+1", "1", "USD"),
            ("ann", "1", "USD"),
        ]
        answer = await server.orders.on_socket(AskUsage(group_by=("end_user",)), "me")
        assert as_csv(answer.result) == one.text  # type: ignore[union-attr]

    async def test_only_an_administrator_sees_other_accounts(self, server: TestServer) -> None:
        await run(server)
        stranger = await with_token(server, account="other")
        mine = (await server.http.get("/v1/usage", headers=stranger)).json()
        assert (mine["account"], mine["results"]) == ("other", [])
        for account in ("default", "*"):
            answer = await server.http.get(f"/v1/usage?account={account}", headers=stranger)
            assert answer.json()["code"] == "missing_scope"
        every = await usage(server, account="*", group_by="account")
        assert [line["account"] for line in every["results"]] == ["default"]
        assert (await usage(server, account="other"))["results"] == []

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("group_by=day,colour", "group_by"),
            ("from=yesterday", "from"),
            ("to=2026-13-01", "to"),
            ("from=2026-03-02&to=2026-03-01", "from"),
            ("from=2020-01-01&to=2026-01-01", "from"),
            ("format=xml", "format"),
        ],
    )
    async def test_what_cannot_be_asked_is_named(self, server: TestServer, query: str, name: str) -> None:
        answer = await server.http.get(f"/v1/usage?{query}")
        assert answer.status_code == 422
        assert [field["field"] for field in answer.json()["invalid_fields"]] == [name]


class TestDailyLimits:
    async def test_predictions(self, server: TestServer) -> None:
        bot = await with_token(server, daily_predictions=2)
        first = await server.http.post(PATH, json=BODY, headers=bot | {"idempotency-key": "one"})
        await server.http.post(PATH, json=BODY, headers=bot)
        over = await server.http.post(PATH, json=BODY, headers=bot)
        problem = refused(over, "may create 2 predictions a day", "daily_predictions")
        assert problem["title"] == "Daily limit reached"
        limits = (await server.http.get("/v1/usage", headers=bot)).json()["limits"]
        told = {"of": "token", "limit": "daily_predictions", "at_most": 2, "used": 2, "expected": 0}
        assert limits == [told]
        # What has been created can be asked for again, and others are not held.
        again = await server.http.post(PATH, json=BODY, headers=bot | {"idempotency-key": "one"})
        assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
        assert (await server.http.post(PATH, json=BODY)).status_code == 201

    async def test_a_batch_takes_what_is_left(self, server: TestServer) -> None:
        bot = await with_token(server, daily_predictions=3)
        batch = {"predictions": [{"version": MODEL, **BODY}] * 5}
        answer = await server.http.post("/v1/predictions/batch", json=batch, headers=bot)
        assert [item["status"] for item in answer.json()["results"]] == [201, 201, 201, 429, 429]

    async def test_what_is_refused_otherwise_counts_for_nothing(self, server: TestServer) -> None:
        bot = await with_token(server, daily_predictions=1)
        for _ in range(3):
            assert (await server.http.post(PATH, json={"input": {}}, headers=bot)).status_code == 422
        assert (await server.http.post(PATH, json=BODY, headers=bot)).status_code == 201

    async def test_what_the_queue_has_no_room_for_counts_for_nothing(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(queue_length=1)) as server:
            bot = await with_token(server, daily_predictions=10)
            answers = [await server.http.post(PATH, json=BODY, headers=bot) for _ in range(5)]
            accepted = [answer.status_code for answer in answers].count(201)
            assert {answer.status_code for answer in answers} == {201, 503}
            (token,) = [each for each in await server.services.store.tokens.list() if each.name == "bot"]
            assert server.services.store.usage.today.used(Owner("token", token.id)).created == accepted

    async def test_the_same_request_again_counts_once(self, server: TestServer) -> None:
        bot = await with_token(server, daily_predictions=2)
        for _ in range(3):
            body = {"version": MODEL, **BODY}
            assert (await server.http.put("/v1/predictions/mine", json=body, headers=bot)).status_code < 300
        assert (await server.http.post(PATH, json=BODY, headers=bot)).status_code == 201
        refused(await server.http.post(PATH, json=BODY, headers=bot), "may create 2")

    async def test_keys_share_what_their_maker_has_and_see_their_own(self, server: TestServer) -> None:
        maker = await with_token(server, scopes=("submit", "read", "keys"), daily_predictions=3)
        keys = []
        for name in ("ann", "ben"):
            made = (await server.http.post("/v1/keys", json={"name": name}, headers=maker)).json()
            keys.append({"authorization": f"Bearer {made['key']}"})
        for headers in (keys[0], keys[1], maker):
            await run(server, headers)
        refused(await server.http.post(PATH, json=BODY, headers=keys[0]), "may create 3")
        own = (await server.http.get("/v1/usage?end_user=", headers=keys[1])).json()
        assert (own["total"]["created"], own["limits"]) == (1, [])
        in_all = (await server.http.get("/v1/usage?group_by=end_user", headers=maker)).json()
        assert [line["created"] for line in in_all["results"]] == [1, 1, 1]

    async def test_run_time_and_what_is_expected_of_it(self, server: TestServer) -> None:
        await run(server)
        seconds = (await usage(server))["total"]["run_seconds"]
        bot = await with_token(server, daily_run_s=seconds * 1.5)
        for _ in range(2):
            assert (await server.http.post(PATH, json=BODY, headers=bot)).status_code == 201
        over = await server.http.post(PATH, json=BODY, headers=bot)
        refused(over, "daily_seconds", "0.0 s have run", "will probably take")
        (limit,) = (await server.http.get("/v1/usage", headers=bot)).json()["limits"]
        assert (limit["used"], limit["expected"]) == (0, pytest.approx(2 * seconds))
        assert int(over.headers["retry-after"]) <= 60

    async def test_the_budget_of_an_account(self, server: TestServer) -> None:
        await server.services.store.models.configure(MODEL, {"price_per_prediction": 2.0})
        bot = await with_token(server, account="acme", daily_budget=0)
        await server.services.store.models.set_visibility("default", MODEL, "public")
        answer = await server.orders.on_socket(SetAccount(account="acme", daily_budget=1.5), "me")
        assert answer.result["daily_budget"] == 1.5  # type: ignore[union-attr]
        made = await server.http.post(PATH, json=BODY, headers=bot)
        server.agent.finish(await server.agent.start(), "x")
        today = server.services.store.usage.today
        await until(lambda: today.used(Owner("account", "acme")).money == 2.0, "its end is counted")
        assert made.status_code == 201
        over = await server.http.post(PATH, json=BODY, headers=bot)
        refused(over, "Your account may spend 1.5 USD a day (daily_budget)", "2 USD are spent")


def test_the_command_has_the_same_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path)]
    assert main(["migrate", *data]) == 0
    options = ["--daily-predictions", "5", "--daily-seconds", "2h", "--daily-budget", "1.5"]
    options += ["--overflow-per-day", "3", "--overflow-cost-per-day", "0"]
    capsys.readouterr()
    assert main(["token", "create", "bot", *options, "--json", *data]) == 0
    record = json.loads(capsys.readouterr().out)
    said = ("daily_predictions", "daily_run_s", "daily_budget", "overflow_per_day", "overflow_cost_per_day")
    assert [record[name] for name in said] == [5, 7200.0, 1.5, 3, 0.0]
    assert main(["token", "set", "bot", "--daily-budget", "0", "--json", *data]) == 0
    assert json.loads(capsys.readouterr().out)["daily_budget"] == 0
    assert main(["account", "set", "default", "--daily-seconds", "1h", *data]) == 0
    assert "3600 s of running" in capsys.readouterr().out
    assert main(["usage", "--group-by", "token,model", *data]) == 0
    assert "in all" in capsys.readouterr().out
    assert main(["usage", "--json", *data]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["group_by"], found["results"]) == (["day"], [])
    assert main(["usage", "--csv", *data]) == 0
    assert capsys.readouterr().out.startswith("day,created,succeeded,failed,canceled,run_seconds,")
    assert main(["usage", "--from", "soon", *data]) == 2
    assert "no day such as" in capsys.readouterr().err
