"""The cases of Python's ``replicate`` 2.0.0b4. Run as a program; see ``cases.py``."""

import functools
import io
import os
import pathlib
import tempfile
import time
from urllib.parse import parse_qs, urlsplit

from cases import WORLD, case, report, until

URL, TOKEN = f"{WORLD['url']}/v1", WORLD["token"]
os.environ.update(REPLICATE_BASE_URL=URL, REPLICATE_API_TOKEN=TOKEN, REPLICATE_POLL_INTERVAL="0.05")

import replicate  # noqa: E402 - what it makes by itself knows only the environment
from replicate import AsyncReplicate, DefaultHttpxClient, FileOutput, Replicate  # noqa: E402
from replicate.exceptions import (  # noqa: E402
    AuthenticationError,
    ModelError,
    NotFoundError,
    UnprocessableEntityError,
)

ECHO, STORY = "test/echo", "demo/storyteller"
OWNER = "default"
TALE = {"prompt": "a test", "words": 80, "pace": "instant"}
PICTURE = pathlib.Path(WORLD["picture"])
NAMED = {"model_owner": "test", "model_name": "echo"}
client = Replicate(base_url=URL, bearer_token=TOKEN)


def create(**input):
    return client.models.predictions.create(**NAMED, input=input)


def wait(id):
    return client.predictions.wait(id)


@functools.cache
def ended():
    return wait(create(text="ended").id)


@functools.cache
def model():
    return client.models.create(
        owner="test",
        name="made-python2",
        visibility="private",
        hardware="cpu",
        description="an okapi crossing",
    )


@functools.cache
def deployment():
    return client.deployments.create(
        name="by-python2", model=ECHO, version=WORLD["echo"], hardware="cpu", min_instances=0, max_instances=1
    )


@functools.cache
def file():
    return client.files.create(
        content=b"by python2", filename="a.txt", type="text/plain", metadata={"k": "v"}
    )


def train(**input):
    return client.trainings.create(
        **NAMED, version_id=WORLD["echo"], input=input, destination=f"test/{model().name}"
    )


def training_ended(id):
    return until(
        lambda: (found := client.trainings.get(training_id=id)).completed_at and found, "it is trained"
    )


@functools.cache
def trained():
    return training_ended(train(steps=3).id)


# --- predictions -----------------------------------------------------------------------------------------


@case("run")
def _():
    assert client.run(ECHO, input={"text": "hello"}) == "hello"
    assert client.run(f"{ECHO}:{WORLD['echo']}", input={"text": "hello"}) == "hello"
    assert client.run(ECHO, input={"text": "polled"}, wait=False) == "polled"
    assert replicate.run(ECHO, input={"text": "of the module"}) == "of the module"


@case("async_run")
async def _():
    async with AsyncReplicate(base_url=URL, bearer_token=TOKEN) as client:
        assert await client.run(ECHO, input={"text": "hello"}) == "hello"


@case("use")
def _():
    echo = replicate.use(ECHO)
    assert echo(text="hello") == "hello"
    made = echo.create(text="later")
    assert made.output() == "later"
    assert "text" in echo.openapi_schema()["components"]["schemas"]["Input"]["properties"]


@case("use(streaming)")
def _():
    words = list(replicate.use(STORY, streaming=True)(**TALE))
    assert len("".join(words).split()) > 10


@case("stream")
def _():
    words = list(replicate.stream(STORY, input=TALE))
    assert len("".join(words).split()) > 10


@case("predictions.create(version)")
def _():
    prediction = client.predictions.create(version=WORLD["echo"], input={"text": "x"})
    assert prediction.version == WORLD["echo"]
    assert prediction.status in ("starting", "processing")
    waited = client.predictions.create(
        version=f"{ECHO}:{WORLD['echo']}", input={"text": "x"}, prefer="wait=5", cancel_after="1m"
    )
    assert (waited.status, waited.output) == ("succeeded", "x")


@case("models.predictions.create")
def _():
    assert client.models.predictions.create(**NAMED, input={"text": "x"}, prefer="wait").output == "x"


@case("deployments.predictions.create")
def _():
    made = client.deployments.predictions.create(
        deployment_owner=OWNER, deployment_name=deployment().name, input={"text": "x"}
    )
    assert wait(made.id).output == "x"


@case("predictions.get", "predictions.wait")
def _():
    found = client.predictions.get(prediction_id=ended().id)
    assert (found.status, found.output, found.error) == ("succeeded", "ended", None)
    assert "thinking" in found.logs
    assert found.metrics.predict_time >= 0
    assert found.created_at < found.completed_at


@case("predictions.cancel")
def _():
    made = create(seconds=30)
    assert client.predictions.cancel(prediction_id=made.id).id == made.id
    assert wait(made.id).status == "canceled"
    assert client.predictions.cancel(prediction_id=ended().id).status == "succeeded"


@case("predictions.list")
def _():
    first = create(text="listed")
    wanted = {first.id, *(create(text="listed").id for _ in range(6))}
    found = [one.id for one in client.predictions.list()]
    assert wanted <= set(found)
    assert len(found) == len(set(found))
    later = client.predictions.list(created_after=first.created_at, created_before="2100-01-01T00:00:00Z")
    assert wanted <= {one.id for one in later}


# --- trainings -------------------------------------------------------------------------------------------


@case("trainings.create")
def _():
    made = train(steps=1)
    assert (made.model, made.version, made.status) == (ECHO, WORLD["echo"], "starting")
    assert made.created_at
    named = {**NAMED, "version_id": WORLD["echo"]}
    try:
        client.trainings.create(**named, input={"steps": 1}, destination="test/nothing")
    except NotFoundError as error:
        assert error.body["detail"] == "The specified training destination does not exist"
    else:
        raise AssertionError("it has a destination")
    try:
        train(steps=0)
    except UnprocessableEntityError as error:
        assert "input.steps" in error.body["detail"]
    else:
        raise AssertionError("it has trained nothing")


@case("trainings.get")
def _():
    found = client.trainings.get(training_id=trained().id)
    assert (found.status, found.logs) == ("succeeded", "training 3 steps\n")
    assert found.output.version.startswith("test/made-python2:")
    assert urlsplit(found.output.weights).path.endswith("/weights.bin")
    assert found.metrics.total_time > 0


@case("run, trained")
def _():
    assert client.run(trained().output.version, input={"text": "it says "}) == "it says www"


@case("trainings.list")
def _():
    wanted = {train(steps=1).id for _ in range(6)} | {trained().id}
    found = [one.id for one in client.trainings.list()]
    assert wanted <= set(found)
    assert len(found) == len(set(found))
    assert not {one.id for one in client.predictions.list()} & set(found)


@case("trainings.cancel")
def _():
    made = train(seconds=30)
    assert client.trainings.cancel(training_id=made.id).id == made.id
    assert training_ended(made.id).status == "canceled"
    assert client.trainings.cancel(training_id=trained().id).status == "succeeded"


# --- files -----------------------------------------------------------------------------------------------


@case("files.create")
def _():
    assert (file().size, file().content_type, file().metadata) == (10, "text/plain", {"k": "v"})
    assert len(file().checksums.sha256) == 64


@case("files.get")
def _():
    assert client.files.get(file_id=file().id).id == file().id


@case("files.list")
def _():
    assert file().id in {one.id for one in client.files.list()}


@case("files.delete")
def _():
    made = client.files.create(content=b"away")
    client.files.delete(file_id=made.id)
    try:
        client.files.get(file_id=made.id)
    except NotFoundError:
        pass
    else:
        raise AssertionError("it is still there")


@case("files.download")
def _():
    signed = parse_qs(urlsplit(file().urls.download).query)
    signed = {name: values[0] for name, values in signed.items()}
    answer = client.files.download(
        file_id=file().id,
        owner=signed["owner"],
        expiry=int(signed["expiry"]),
        signature=signed["signature"],
    )
    assert answer.read() == b"by python2"


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
    assert (model().owner, model().name, model().latest_version) == ("test", "made-python2", None)


@case("models.get")
def _():
    found = client.models.get(**NAMED)
    assert found.latest_version.id == WORLD["echo"]
    assert found.latest_version.openapi_schema["components"]["schemas"]["Input"]


@case("models.list")
def _():
    assert {"echo", "storyteller", "restyle"} <= {one.name for one in client.models.list()}
    by_age = client.models.list(sort_by="model_created_at", sort_direction="asc")
    times = [one.created_at for one in by_age]
    assert times == sorted(times)


@case("models.search")
def _():
    assert model().name in {one.name for one in client.models.search(body="okapi crossing")}


@case("models.update", "readme.get")
def _():
    changed = client.models.update(
        model_owner="test", model_name=model().name, description="an okapi crossing a road", readme="# Okapi"
    )
    assert changed.description == "an okapi crossing a road"
    assert client.models.readme.get(model_owner="test", model_name=model().name) == "# Okapi"


@case("models.examples.list", "model.default_example")
def _():
    named = {"model_owner": "demo", "model_name": "storyteller"}
    (example,) = client.models.examples.list(**named)
    assert (example.id, example.status) == (WORLD["example"], "succeeded")
    assert example.input["prompt"] == "an example" and len(example.output) >= 5
    assert client.models.get(**named).default_example["id"] == example.id


@case("models.delete")
def _():
    made = client.models.create(owner="test", name="away-python2", visibility="private", hardware="cpu")
    client.models.delete(model_owner=made.owner, model_name=made.name)
    try:
        client.models.get(model_owner=made.owner, model_name=made.name)
    except NotFoundError:
        pass
    else:
        raise AssertionError("it is still there")


@case("models.versions.list")
def _():
    assert [one.id for one in client.models.versions.list(**NAMED)] == [WORLD["echo"]]


@case("models.versions.get")
def _():
    version = client.models.versions.get(**NAMED, version_id=WORLD["echo"])
    assert version.cog_version and version.openapi_schema


@case("models.versions.delete")
def _():
    ghost = {"model_owner": "test", "model_name": "ghost-python2"}
    client.models.versions.delete(**ghost, version_id=WORLD["ghost"])
    assert not list(client.models.versions.list(**ghost))


# --- deployments -----------------------------------------------------------------------------------------


@case("deployments.create", "deployments.get")
def _():
    found = client.deployments.get(deployment_owner=OWNER, deployment_name=deployment().name)
    assert found.current_release.model == ECHO
    assert found.current_release.configuration.hardware == "cpu"


@case("deployments.list")
def _():
    assert deployment().name in {one.name for one in client.deployments.list()}


@case("deployments.update")
def _():
    changed = client.deployments.update(
        deployment_owner=OWNER, deployment_name=deployment().name, max_instances=2
    )
    assert changed.current_release.number == 2
    assert changed.current_release.configuration.max_instances == 2


@case("deployments.delete")
def _():
    made = client.deployments.create(
        name="away-python2",
        model=ECHO,
        version=WORLD["echo"],
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    client.deployments.delete(deployment_owner=OWNER, deployment_name=made.name)
    assert made.name not in {one.name for one in client.deployments.list()}


# --- the rest --------------------------------------------------------------------------------------------


@case("accounts.current")
def _():
    assert client.account.get().username == OWNER


@case("hardware.list")
def _():
    assert "cpu" in {one.sku for one in client.hardware.list()}


@case("collections.list", "collections.get")
def _():
    assert list(client.collections.list()) == []
    try:
        client.collections.get(collection_slug="anything")
    except NotFoundError:
        pass
    else:
        raise AssertionError("there are none")


@case("webhooks.default.secret")
def _():
    assert client.webhooks.default.secret.get().key.startswith("whsec_")


@case("search")
def _():
    found = client.search(query="storyteller", limit=5)
    assert found.models[0].model.name == "storyteller"


# --- traps -----------------------------------------------------------------------------------------------


@case("trap: a wait that runs out")
def _():
    assert client.run(ECHO, input={"text": "slow", "seconds": 2.5}, prefer="wait=1") == "slow"
    made = client.predictions.create(version=WORLD["echo"], input={"seconds": 2}, prefer="wait=1")
    assert made.status == "starting"


@case("trap: an answer before it asks again")
def _():
    short = client.with_options(timeout=4)
    assert short.run(ECHO, input={"text": "once by python2", "seconds": 4}) == "once by python2"
    made = [one for one in client.predictions.list() if one.input.get("text") == "once by python2"]
    assert len(made) == 1


@case("trap: no nulls in urls")
def _():
    assert set(ended().urls.model_dump(exclude_unset=True)) == {"get", "cancel", "web"}
    made = client.models.predictions.create(model_owner="demo", model_name="storyteller", input=TALE)
    assert set(made.urls.model_dump(exclude_unset=True)) == {"get", "cancel", "web", "stream"}


@case("trap: errors are strings")
def _():
    assert wait(create(text="why", fail=True).id).error == "failed as told: why"
    assert ended().error is None
    try:
        client.run(ECHO, input={"fail": True})
    except ModelError as error:
        assert "failed as told" in str(error)
    else:
        raise AssertionError("it did not fail")


@case("trap: a deadline before the start is canceled")
def _():
    made = client.models.predictions.create(model_owner="test", model_name="absent", input={"text": "x"})
    assert wait(made.id).status == "canceled"
    assert client.run("test/absent", input={"text": "x"}) is None


@case("trap: both base URLs")
def _():
    other = Replicate(base_url=WORLD["url"], bearer_token=TOKEN)
    assert other.run(ECHO, input={"text": "x"}) == "x"
    assert len({one.id for one in other.predictions.list()}) > 5


@case("trap: old fields")
def _():
    made = client.predictions.create(version=WORLD["echo"], input={"text": "x"}, stream=True)
    assert wait(made.id).status == "succeeded"


@case("trap: refusals")
def _():
    for call, wanted, text in (
        (
            lambda: client.run(ECHO, input={"text": "x" * 101, "no": 1}),
            UnprocessableEntityError,
            "- input.text: ",
        ),
        (lambda: client.predictions.get(prediction_id="nothing"), NotFoundError, "could not be found"),
        (
            lambda: client.predictions.create(version="0" * 64, input={}),
            UnprocessableEntityError,
            "does not exist",
        ),
        (
            lambda: Replicate(base_url=URL, bearer_token="no").account.get(),
            AuthenticationError,
            "token",
        ),
    ):
        try:
            call()
        except wanted as error:
            assert text in error.body["detail"], error
            assert error.response.headers["content-type"] == "application/problem+json"
        else:
            raise AssertionError(f"not refused: {wanted}")


@case("trap: a version of any model")
def _():
    words = client.run(f"{STORY}:{WORLD['story']}", input=TALE)
    assert len("".join(words).split()) > 10


@case("trap: lists stay lists")
def _():
    assert len(ended().output) == 5
    assert isinstance(client.run(STORY, input=TALE), list)


@case("trap: created once")
def _():
    key = {"idempotency-key": "python2"}
    made = [
        client.models.predictions.create(**NAMED, input={"text": "once"}, extra_headers=key) for _ in range(3)
    ]
    assert len({one.id for one in made}) == 1


@case("trap: too many creations")
def _():
    answers = []
    http = DefaultHttpxClient(event_hooks={"response": [answers.append]})
    patient = Replicate(base_url=URL, bearer_token=WORLD["limited"]["python2"], http_client=http)
    for _ in range(200):
        answers.clear()
        begun = time.monotonic()
        assert patient.models.predictions.create(**NAMED, input={"text": "often"}).id
        took_s = time.monotonic() - begun
        if len(answers) > 1:
            break
    assert [answer.status_code for answer in answers] == [429, 201]
    assert took_s >= int(answers[0].headers["retry-after"]) >= 1


report()
