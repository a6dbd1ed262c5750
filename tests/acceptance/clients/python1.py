"""The cases of Python's ``replicate`` 1.0.7. Run as a program; see ``cases.py``."""

import functools
import io
import os
import pathlib
import tempfile

import httpx
import replicate
from cases import WORLD, Hook, case, report, until
from replicate.exceptions import ModelError, ReplicateError
from replicate.helpers import FileOutput
from replicate.webhook import InvalidSignatureError, Webhooks

URL, TOKEN = WORLD["url"], WORLD["token"]
ECHO, STORY = "test/echo", "demo/storyteller"
OWNER = "default"
TALE = {"prompt": "a test", "words": 80, "pace": "instant"}
PICTURE = pathlib.Path(WORLD["picture"])
client = replicate.Client(base_url=URL, api_token=TOKEN)


def fresh():
    """Another one: its connections belong to one event loop."""
    return replicate.Client(base_url=URL, api_token=TOKEN)


def create(**input):
    return client.models.predictions.create(ECHO, input=input)


@functools.cache
def ended():
    prediction = create(text="ended")
    prediction.wait()
    return prediction


@functools.cache
def model():
    return client.models.create(
        "test", "made-python1", visibility="private", hardware="cpu", description="a zebra crossing"
    )


@functools.cache
def deployment():
    return client.deployments.create(
        name="by-python1", model=ECHO, version=WORLD["echo"], hardware="cpu", min_instances=0, max_instances=1
    )


@functools.cache
def file():
    return client.files.create(io.BytesIO(b"by python1"), filename="a.txt", metadata={"k": "v"})


def train(**input):
    return client.trainings.create(
        model=ECHO, version=WORLD["echo"], input=input, destination=f"{model().owner}/{model().name}"
    )


@functools.cache
def trained():
    training = train(steps=3)
    return until(lambda: (training.reload(), training.completed_at and training)[1], "it is trained")


# --- predictions -----------------------------------------------------------------------------------------


@case("run")
def _():
    assert client.run(ECHO, input={"text": "hello"}) == "hello"
    assert client.run(f"{ECHO}:{WORLD['echo']}", input={"text": "hello"}) == "hello"
    assert client.run(ECHO, input={"text": "polled"}, wait=False) == "polled"
    assert client.run(ECHO, input={"text": "waited"}, wait=5) == "waited"


@case("async_run")
async def _():
    assert await fresh().async_run(ECHO, input={"text": "hello"}) == "hello"


@case("stream")
def _():
    events = list(client.stream(STORY, input=TALE))
    assert events[-1].event.value == "done"
    assert len("".join(str(event) for event in events).split()) > 10


@case("async_stream")
async def _():
    words = [str(event) async for event in await fresh().async_stream(STORY, input=TALE)]
    assert len("".join(words).split()) > 10


@case("prediction.stream")
def _():
    prediction = client.predictions.create(model=STORY, input=TALE, stream=True)
    streamed = [str(event) for event in prediction.stream() if event.event.value == "output"]
    prediction.wait()
    assert prediction.output == streamed


@case("predictions.create(version)")
def _():
    prediction = client.predictions.create(version=WORLD["echo"], input={"text": "x"})
    assert prediction.version == WORLD["echo"]
    assert prediction.status in ("starting", "processing")
    waited = client.predictions.create(version=f"{ECHO}:{WORLD['echo']}", input={"text": "x"}, wait=True)
    assert (waited.status, waited.output) == ("succeeded", "x")


@case("predictions.create(model)")
def _():
    assert client.predictions.create(model=ECHO, input={"text": "x"}).model == ECHO


@case("predictions.create(deployment)")
def _():
    made = client.predictions.create(deployment=f"{OWNER}/{deployment().name}", input={"text": "x"})
    made.wait()
    assert made.output == "x"


@case("models.predictions.create")
def _():
    made = client.models.predictions.create(("test", "echo"), input={"text": "x"}, wait=True)
    assert made.output == "x"


@case("deployments.predictions.create")
def _():
    made = client.deployments.predictions.create((OWNER, deployment().name), input={"text": "x"})
    made.wait()
    assert made.output == "x"


@case("deployment.predictions.create")
def _():
    made = deployment().predictions.create(input={"text": "x"})
    made.wait()
    assert made.output == "x"


@case("predictions.get")
def _():
    found = client.predictions.get(ended().id)
    assert (found.status, found.output, found.error) == ("succeeded", "ended", None)
    assert "thinking" in found.logs
    assert found.metrics["predict_time"] >= 0


@case("prediction.reload", "predictions.wait")
def _():
    prediction = create(text="x")
    prediction.reload()
    prediction.wait()
    assert prediction.status == "succeeded"


@case("predictions.cancel")
def _():
    made = create(seconds=30)
    assert client.predictions.cancel(made.id).id == made.id
    made.wait()
    assert made.status == "canceled"


@case("prediction.cancel")
def _():
    made = create(seconds=30)
    made.cancel()
    made.wait()
    assert made.status == "canceled"
    made.cancel()
    assert made.status == "canceled"


@case("predictions.list")
def _():
    wanted = {create(text="listed").id for _ in range(7)}
    page = client.predictions.list()
    found = {one.id for one in page.results}
    assert page.next.startswith(URL)
    while page.next:
        page = client.predictions.list(page.next)
        found |= {one.id for one in page.results}
    assert wanted <= found


# --- trainings -------------------------------------------------------------------------------------------


@case("trainings.create")
def _():
    made = train(steps=1)
    assert (made.model, made.version, made.status) == (ECHO, WORLD["echo"], "starting")
    assert made.input == {"steps": 1}
    assert made.destination == "test/made-python1"
    old_form = client.trainings.create(
        version=f"{ECHO}:{WORLD['echo']}", input={"steps": 1}, destination=made.destination
    )
    assert old_form.id != made.id
    try:
        client.trainings.create(f"{ECHO}:{WORLD['echo']}", {"steps": 1}, "test/nothing")
    except ReplicateError as error:
        assert (error.status, error.detail) == (404, "The specified training destination does not exist")
    else:
        raise AssertionError("it has a destination")
    try:
        train(steps=0)
    except ReplicateError as error:
        assert error.status == 422
        assert "input.steps" in error.detail
    else:
        raise AssertionError("it has trained nothing")


@case("trainings.get", "training.reload")
def _():
    found = client.trainings.get(trained().id)
    assert (found.status, found.logs) == ("succeeded", "training 3 steps\n")
    assert found.output["version"].startswith("test/made-python1:")
    assert httpx.get(found.output["weights"]).text == "www"


@case("run, trained")
def _():
    assert client.run(trained().output["version"], input={"text": "it says "}) == "it says www"


@case("trainings.list")
def _():
    wanted = {train(steps=1).id for _ in range(6)} | {trained().id}
    page = client.trainings.list()
    found = {one.id for one in page.results}
    while page.next:
        page = client.trainings.list(page.next)
        found |= {one.id for one in page.results}
    assert wanted <= found
    assert not {one.id for one in client.predictions.list().results} & found


@case("trainings.cancel", "training.cancel")
def _():
    made = train(seconds=30)
    assert client.trainings.cancel(made.id).id == made.id
    until(lambda: (made.reload(), made.status == "canceled")[1], "it is canceled")
    made.cancel()
    assert made.status == "canceled"


# --- files -----------------------------------------------------------------------------------------------


@case("files.create")
def _():
    assert (file().name, file().size, file().metadata) == ("a.txt", 10, {"k": "v"})
    assert file().etag and len(file().checksums["sha256"]) == 64


@case("files.get")
def _():
    assert client.files.get(file().id) == file()


@case("files.list")
def _():
    made = client.files.create(io.BytesIO(b"newest"))
    assert made.id in {one.id for one in client.files.list()}


@case("files.delete")
def _():
    made = client.files.create(io.BytesIO(b"away"))
    assert client.files.delete(made.id) is True
    try:
        client.files.get(made.id)
    except ReplicateError as error:
        assert error.status == 404
    else:
        raise AssertionError("it is still there")


@case("inputs: a file")
def _():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "b.txt")
        path.write_text("from a path")
        assert client.run(ECHO, input={"file": path}) == "from a path"
    assert client.run(ECHO, input={"file": io.BytesIO(b"from memory")}) == "from memory"


@case("inputs: a data URI")
def _():
    file = io.BytesIO(b"in base64")
    assert client.run(ECHO, input={"file": file}, file_encoding_strategy="base64") == "in base64"


@case("output files")
def _():
    with PICTURE.open("rb") as picture:
        output = client.run("demo/restyle", input={"image": picture})
    assert isinstance(output, FileOutput)
    assert output.read().startswith((b"\x89PNG", b"\xff\xd8"))
    assert b"".join(output) == output.read()


# --- models ----------------------------------------------------------------------------------------------


@case("models.create")
def _():
    assert (model().owner, model().name, model().latest_version) == ("test", "made-python1", None)


@case("models.get")
def _():
    found = client.models.get("test", "echo")
    assert found.latest_version.id == WORLD["echo"]
    assert found.latest_version.openapi_schema["components"]["schemas"]["Input"]


@case("model.default_example")
def _():
    example = client.models.get(STORY).default_example
    assert (example.id, example.status, example.model) == (WORLD["example"], "succeeded", STORY)
    assert example.input["prompt"] == "an example" and len(example.output) >= 5


@case("models.list")
def _():
    names, page = set(), client.models.list()
    names |= {one.name for one in page.results}
    while page.next:
        page = client.models.list(page.next)
        names |= {one.name for one in page.results}
    assert {"echo", "storyteller", "restyle"} <= names


@case("models.search")
def _():
    assert model().name in {one.name for one in client.models.search("zebra crossing").results}
    assert not client.models.search("nothing has these words").results


@case("models.delete")
def _():
    made = client.models.create("test", "away-python1", visibility="private", hardware="cpu")
    assert client.models.delete(made.owner, made.name) is True


@case("model.reload")
def _():
    found = client.models.get(ECHO)
    # Runs are counted now and then.
    until(lambda: found.reload() or found.run_count > 0, "its runs are counted")


@case("models.versions.list")
def _():
    assert [one.id for one in client.models.get(ECHO).versions.list()] == [WORLD["echo"]]


@case("models.versions.get")
def _():
    version = client.models.get(ECHO).versions.get(WORLD["echo"])
    assert version.cog_version and version.openapi_schema


@case("models.versions.delete")
def _():
    versions = client.models.get("test/ghost-python1").versions
    assert versions.delete(WORLD["ghost"]) is False  # it is 202, as documented, and this client waits for 204
    assert not list(versions.list())


# --- deployments -----------------------------------------------------------------------------------------


@case("deployments.create", "deployments.get")
def _():
    found = client.deployments.get(f"{OWNER}/{deployment().name}")
    assert found.current_release.model == ECHO
    assert found.current_release.configuration.hardware == "cpu"


@case("deployments.list")
def _():
    assert deployment().name in {one.name for one in client.deployments.list().results}


@case("deployments.update")
def _():
    changed = client.deployments.update(OWNER, deployment().name, max_instances=2)
    assert changed.current_release.number == 2
    assert changed.current_release.configuration.max_instances == 2


@case("deployments.delete")
def _():
    made = client.deployments.create(
        name="away-python1",
        model=ECHO,
        version=WORLD["echo"],
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    assert client.deployments.delete(OWNER, made.name) is True


# --- the rest --------------------------------------------------------------------------------------------


@case("accounts.current")
def _():
    assert client.accounts.current().username == OWNER


@case("hardware.list")
def _():
    assert "cpu" in {one.sku for one in client.hardware.list()}


@case("collections.list", "collections.get")
def _():
    assert client.collections.list().results == []
    try:
        client.collections.get("anything")
    except ReplicateError as error:
        assert error.status == 404
    else:
        raise AssertionError("there are none")


@case("webhooks.default.secret")
def _():
    assert client.webhooks.default.secret().key.startswith("whsec_")


@case("webhooks.validate")
def _():
    with Hook() as hook:
        made = client.models.predictions.create(
            ECHO, input={"text": "x"}, webhook=hook.url, webhook_events_filter=["completed"]
        )
        headers, body = hook.one()
    secret = client.webhooks.default.secret()
    request = httpx.Request("POST", hook.url, headers=headers, content=body)
    Webhooks.validate(request=request, secret=secret, tolerance=60)
    Webhooks.validate(headers=headers, body=body.decode(), secret=secret)
    try:
        Webhooks.validate(headers=headers, body=body.decode() + " ", secret=secret)
    except InvalidSignatureError:
        pass
    else:
        raise AssertionError("a changed body is as good")
    assert made.id in body.decode()


# --- traps -----------------------------------------------------------------------------------------------


@case("trap: a wait that runs out")
def _():
    assert client.run(ECHO, input={"text": "slow", "seconds": 2.5}, wait=1) == "slow"
    assert client.predictions.create(version=WORLD["echo"], input={"seconds": 2}, wait=1).status == "starting"


@case("trap: no nulls in urls")
def _():
    assert set(ended().urls) == {"get", "cancel", "web"}
    assert set(client.predictions.create(model=STORY, input=TALE).urls) == {"get", "cancel", "web", "stream"}


@case("trap: errors are strings")
def _():
    made = create(text="why", fail=True)
    made.wait()
    assert made.error == "failed as told: why"
    assert ended().error is None
    try:
        client.run(ECHO, input={"fail": True})
    except ModelError as error:
        assert "failed as told" in str(error)
    else:
        raise AssertionError("it did not fail")


@case("trap: a deadline before the start is canceled")
def _():
    made = client.models.predictions.create("test/absent", input={"text": "x"})
    made.wait()
    assert (made.status, made.output) == ("canceled", None)
    assert client.run("test/absent", input={"text": "x"}) is None


@case("trap: both base URLs")
def _():
    other = replicate.Client(base_url=f"{URL}/v1", api_token=TOKEN)
    assert other.run(ECHO, input={"text": "x"}) == "x"
    assert other.predictions.list(other.predictions.list().next).results


@case("trap: old fields")
def _():
    made = client.models.predictions.create(
        ECHO, input={"text": "x"}, stream=True, webhook_completed="https://example.org/hook"
    )
    made.wait()
    assert made.status == "succeeded"


@case("trap: refusals")
def _():
    for call, status, text in (
        (lambda: client.run(ECHO, input={"text": "x" * 101, "no": 1}), 422, "- input.text: "),
        (lambda: client.predictions.get("nothing"), 404, "could not be found"),
        (lambda: client.predictions.create(version="0" * 64, input={}), 422, "does not exist"),
        (lambda: replicate.Client(base_url=URL, api_token="no").accounts.current(), 401, "token"),
    ):
        try:
            call()
        except ReplicateError as error:
            assert error.status == status and text in error.detail, error
        else:
            raise AssertionError(f"not refused: {status}")


@case("trap: a version of any model")
def _():
    words = client.run(f"{STORY}:{WORLD['story']}", input=TALE)
    assert len("".join(words).split()) > 10


@case("trap: lists stay lists")
def _():
    assert len(client.run(STORY, input=TALE)) > 10


@case("trap: created once")
def _():
    again = replicate.Client(base_url=URL, api_token=TOKEN, headers={"idempotency-key": "python1"})
    made = [again.models.predictions.create(ECHO, input={"text": "once"}) for _ in range(3)]
    assert len({one.id for one in made}) == 1


os.environ["REPLICATE_POLL_INTERVAL"] = "0.05"
client.poll_interval = 0.05
report()
