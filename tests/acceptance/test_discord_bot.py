"""The Discord bot of the examples, as a process: Discord on loopback, our server and a worker are real."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.commands import REPOSITORY, Agent, Command, Server, run, until
from tests.support.discord import EDITS, TOKEN, Asked, Discord, discord
from tests.support.discord_shapes import BERT

BOT = REPOSITORY / "examples" / "discord_bot"
LANDSCAPE = f"demo/landscape={REPOSITORY / 'examples' / 'models' / 'landscape'}"
LONG: dict[str, str | int] = {"size": "1280x800", "steps": 12}
"""Some seconds of work."""


@pytest.fixture
def loopback() -> Iterator[Discord]:
    with discord() as found:
        yield found


@pytest.fixture
def begin(loopback: Discord) -> Iterator[Callable[..., Command]]:
    """Start the bot with these variables; it ends before Discord does."""
    with ExitStack() as stack:

        def start(url: str, token: str, **more: str) -> Command:
            environment = {
                "DISCORD_TOKEN": TOKEN,
                "DISCORD_API_BASE": loopback.api,
                "REPLICATE_BASE_URL": url,
                "REPLICATE_API_TOKEN": token,
                **more,
            }
            command = Command(str(BOT / "bot.py"), program=sys.executable, environment=environment)
            stack.callback(command.close)
            return command

        yield start


@pytest.fixture(scope="module")
def manned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with house(tmp_path_factory.mktemp("manned"), stays=True) as started:
        yield started


@pytest.fixture(scope="module")
def abandoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with house(tmp_path_factory.mktemp("abandoned"), stays=False) as started:
        yield started


@pytest.fixture
def server(manned: Server) -> Iterator[Server]:
    """With a worker; shared, and without work of others."""
    yield manned
    settle(manned)


@pytest.fixture
def deserted(abandoned: Server) -> Iterator[Server]:
    """Knows the model and has lost its only worker; shared, and without work of others."""
    yield abandoned
    settle(abandoned)


@contextmanager
def house(folder: Path, *options: str, stays: bool) -> Iterator[Server]:
    """A server that knows the model; its worker stays or has gone."""
    with ExitStack() as stack:
        started = Server(folder / "data", "--stream-queue-s", "0.1", *options)
        stack.callback(started.close)
        started.start()
        worker = Agent(started, folder / "agent", LANDSCAPE)
        stack.callback(worker.close)
        worker.ready()
        assert stays or worker.command.terminate() == 0
        yield started


def settle(server: Server) -> None:
    """End what a test has left, and forget it."""
    http = server.client()
    for one in predictions(server):
        http.post(f"/v1/predictions/{one['id']}/cancel")
    until(lambda: all(one["completed_at"] for one in predictions(server)), "nothing is left to do")
    FORGOTTEN.update(one["id"] for one in predictions(server))


FORGOTTEN: set[str] = set()


def predictions(server: Server) -> list[dict[str, Any]]:
    """Those of this test."""
    found: list[dict[str, Any]] = server.client().get("/v1/predictions").json()["results"]
    return [one for one in found if one["id"] not in FORGOTTEN]


def test_a_command_ends_with_the_finished_file_after_progress_and_previews(
    server: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    begin(server.url, server.token()).line("ready as painter")
    (registered,) = loopback.commands
    assert [one["name"] for one in registered["options"]] == ["hour", "seed", "size", "steps"]
    asked = loopback.command("landscape", hour="aurora", seed=3, **LONG)
    assert asked.acknowledged()["type"] == 5
    last = asked.reaches(lambda one: "Done in" in one.content, "the picture is done")

    (prediction,) = predictions(server)
    assert prediction["status"] == "succeeded"
    assert last.files == {"landscape.png": httpx.get(prediction["output"][-1]).content}
    assert "hour aurora, seed 3" in last.content
    assert last.buttons == {}

    before = asked.edits[: asked.edits.index(last)]
    assert any(re.search(r"\d+%", one.content) for one in before)
    sketches = {name for one in before for name in one.files}
    assert sketches and sketches <= {f"step-{step:02d}.jpg" for step in range(1, 12)} | {"landscape.png"}
    assert all(one.buttons.keys() == {"Cancel"} for one in before)
    pauses = [later.at - one.at for one, later in pairwise(asked.edits)]
    assert all(pause >= 1.0 for pause in pauses)
    assert all(one.by_token for one in asked.edits)
    shown = [(one.content, list(one.files)) for one in asked.edits]
    assert all(one != later for one, later in pairwise(shown))
    assert [one["intents"] for one in loopback.identified] == [1]  # it sees servers, and no messages
    assert loopback.heartbeats
    assert loopback.refusals == []


def test_the_cancel_button_cancels_for_the_one_who_asked_and_for_nobody_else(
    server: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    begin(server.url, server.token()).line("ready as painter")
    asked = loopback.command("landscape", **LONG)
    asked.reaches(lambda one: "%" in one.content, "it is being painted")

    refused = loopback.press("Cancel", asked, BERT).acknowledged()
    assert refused["type"] == 4
    assert "Only the one who asked" in refused["data"]["content"]
    assert refused["data"]["flags"] == 64  # for his eyes only

    assert loopback.press("Cancel", asked).acknowledged()["type"] == 6
    last = asked.reaches(lambda one: not one.buttons, "the message is at its end")
    assert last.content.endswith("\nCanceled.")
    (prediction,) = predictions(server)
    assert prediction["status"] == "canceled"
    assert loopback.refusals == []


def test_each_person_has_a_share_of_the_bots_token(
    deserted: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    """Anna asks for two pictures before Bert asks for his: his is before her second."""
    server = deserted
    begin(server.url, server.token()).line("ready as painter")

    def waits(asked: Asked, place: str) -> None:
        asked.reaches(lambda one: re.search(place, one.content), f"it has {place}")

    first = loopback.command("landscape")
    waits(first, "Waiting: no machine is connected, place 1 of 1")
    second = loopback.command("landscape")
    waits(second, "place 2 of 2")
    waits(loopback.command("landscape", BERT), "place [12] of 3")
    waits(second, "place 3 of 3")


def test_a_server_that_lacks_the_model_and_one_that_is_away_are_said_in_plain_words(
    serve: Callable[..., Server], loopback: Discord, begin: Callable[..., Command]
) -> None:
    server = serve()
    begin(server.url, server.token()).line("ready as painter")
    said = loopback.command("landscape").reaches(lambda one: True, "the message says something")
    assert "does not have this model now" in said.content
    server.stop()
    asked = loopback.command("landscape")
    assert asked.acknowledged()["type"] == 5
    said = asked.reaches(lambda one: True, "the message says something")
    assert "The picture server does not answer. Please try again in a few minutes." in said.content
    assert said.buttons == {}


def test_a_token_that_the_server_does_not_know_is_said_in_plain_words(
    deserted: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    begin(deserted.url, "cf_wrong").line("ready as painter")
    asked = loopback.command("landscape")
    said = asked.reaches(lambda one: True, "the message says something")
    assert "does not accept this bot's token. Whoever runs the bot must renew it." in said.content


def test_a_token_that_discord_does_not_know_ends_the_bot_with_one_line(
    begin: Callable[..., Command],
) -> None:
    bot = begin("http://127.0.0.1:1", "cf_unused", DISCORD_TOKEN="wrong")
    bot.line("^bot.py: Discord does not accept DISCORD_TOKEN")
    assert bot.process.wait(10) == 1
    assert len(bot.lines) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REPLICATE_API_TOKEN", "", "set REPLICATE_API_TOKEN: see examples/discord_bot/README.md"),
        (
            "REPLICATE_BASE_URL",
            "127.0.0.1:8000",
            "REPLICATE_BASE_URL: expected http://HOST[:PORT] or https://HOST",
        ),
        ("REPLICATE_API_TOKEN", "cf_ two", "REPLICATE_API_TOKEN has characters that no token has"),
        ("DISCORD_API_BASE", "http://127.0.0.1:1/api/v10", "Discord cannot be reached: "),
    ],
)
def test_a_wrong_setting_ends_the_bot_with_one_line(
    begin: Callable[..., Command], name: str, value: str, said: str
) -> None:
    settings = {"url": "http://127.0.0.1:1", "token": "cf_unused"}
    bot = begin(**settings, **{name: value})
    bot.line("^bot.py: " + re.escape(said))
    assert bot.process.wait(10) == 1
    assert len(bot.lines) == 1


def test_a_server_that_is_restarted_costs_no_picture(
    server: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    begin(server.url, server.token()).line("ready as painter")
    asked = loopback.command("landscape", **LONG)
    asked.reaches(lambda one: one.files, "there is a sketch")
    server.kill()
    server.start()
    last = asked.reaches(lambda one: not one.buttons, "the message is at its end")
    (prediction,) = predictions(server)
    assert last.files == {"landscape.png": httpx.get(prediction["output"][-1]).content}


def test_a_cancel_that_does_not_reach_the_server_is_said_to_the_one_who_pressed(
    stack: ExitStack, tmp_path: Path, loopback: Discord, begin: Callable[..., Command]
) -> None:
    server = stack.enter_context(house(tmp_path, stays=False))
    begin(server.url, server.token()).line("ready as painter")
    asked = loopback.command("landscape")
    asked.reaches(lambda one: "place 1 of 1" in one.content, "it waits")
    server.stop()
    pressed = loopback.press("Cancel", asked)
    assert pressed.acknowledged()["type"] == 6
    until(lambda: pressed.followups, "the one who pressed is told")
    (said,) = pressed.followups
    assert "does not answer" in said["content"]
    assert said["flags"] == 64


def test_a_cut_connection_to_discord_costs_no_picture_and_no_button(
    deserted: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    server = deserted
    begin(server.url, server.token()).line("ready as painter")
    asked = loopback.command("landscape")
    asked.reaches(lambda one: "place 1 of 1" in one.content, "it waits")
    loopback.cut()
    until(lambda: loopback.resumed, "the bot is there again")
    loopback.press("Cancel", asked)
    asked.reaches(lambda one: one.content.endswith("Canceled."), "it is canceled")


def test_when_the_commands_token_is_over_the_bot_edits_by_its_own(
    server: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    begin(server.url, server.token()).line("ready as painter")
    asked = loopback.command("landscape", **LONG)
    asked.reaches(lambda one: "Cancel" in one.buttons, "it is begun")
    asked.expired = True
    last = asked.reaches(lambda one: "Done in" in one.content, "the picture is done")
    assert not last.by_token
    assert last.files.keys() == {"landscape.png"}
    assert last.buttons == {}
    assert loopback.refusals == ["401 Invalid Webhook Token"]


def test_a_message_that_was_deleted_cancels_its_prediction(
    deserted: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    server = deserted
    begin(server.url, server.token()).line("ready as painter")
    asked = loopback.command("landscape")
    asked.reaches(lambda one: "place 1 of 1" in one.content, "it waits")
    asked.deleted = True
    loopback.command("landscape")  # so that there is news for the first
    until(
        lambda: [one["status"] for one in predictions(server)] == ["starting", "canceled"], "it is canceled"
    )


def test_a_channel_that_the_bot_may_not_write_to_cancels_the_prediction(
    deserted: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    server = deserted
    begin(server.url, server.token()).line("ready as painter")
    asked = loopback.command("landscape")
    asked.reaches(lambda one: "place 1 of 1" in one.content, "it waits")
    asked.expired, loopback.may_write = True, False
    loopback.command("landscape", BERT)  # so that there is news for the first
    until(
        lambda: [one["status"] for one in predictions(server)] == ["starting", "canceled"], "it is canceled"
    )


def test_too_many_pictures_and_too_long_a_wait_are_said_in_plain_words(
    stack: ExitStack, tmp_path: Path, loopback: Discord, begin: Callable[..., Command]
) -> None:
    server = stack.enter_context(house(tmp_path, "--queue-s", "1", stays=False))
    made = run("token", "create", "bot", "--creations-per-min", "1", "--data", str(server.data), "--json")
    begin(server.url, json.loads(made.stdout)["token"]).line("ready as painter")
    first = loopback.command("landscape")
    first.reaches(lambda one: "No machine was free in time" in one.content, "it is given up")
    said = loopback.command("landscape").reaches(lambda one: True, "the message says something")
    assert re.search(r"Too many pictures were asked for at once\. Please try again in \d+ s\.", said.content)


def test_a_bot_that_is_stopped_cancels_what_it_has_begun_and_says_so(
    deserted: Server, loopback: Discord, begin: Callable[..., Command]
) -> None:
    """Also while Discord lets the newest edit wait."""
    server = deserted
    bot = begin(server.url, server.token())
    bot.line("ready as painter")
    asked = loopback.command("landscape")
    for place in range(1, EDITS):
        asked.reaches(lambda one, place=place: f"place 1 of {place}" in one.content, f"{place} wait")
        loopback.command("landscape", BERT)
    until(lambda: len(asked.edits) >= EDITS and loopback.asked[-1].edits, "no edit is left for the first")
    assert bot.terminate() == 0
    assert ["I am being restarted" in one.edits[-1].content for one in loopback.asked] == [True] * EDITS
    assert all(one.edits[-1].buttons == {} for one in loopback.asked)
    assert {str(one["status"]) for one in predictions(server)} == {"canceled"}
    assert loopback.refusals == []
