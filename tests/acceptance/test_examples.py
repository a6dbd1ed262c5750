"""The example models, run by Replicate's own Python client against the installed commands; their files
on this machine's disk, and in a bucket."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageChops
from replicate import Client

from tests.support.commands import REPOSITORY, Agent, Server, until
from tests.support.seaweed import SeaweedFS

NAMES = ("storyteller", "landscape", "restyle", "mimic")


@pytest.fixture(scope="module", params=["disk", "s3"])
def replicate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder: Path = tmp_path_factory.mktemp("examples")
    store: SeaweedFS | None = request.getfixturevalue("seaweed") if request.param == "s3" else None
    options = () if store is None else ("--storage", store.url("examples"))
    environment = None if store is None else store.environment
    server = Server(folder / "data", "--file-urls", "url", *options, environment=environment)
    agent = None
    try:
        server.start()
        models = [f"demo/{name}={REPOSITORY / 'examples' / 'models' / name}" for name in NAMES]
        agent = Agent(server, folder / "agent", *models).ready()
        owner = Client(base_url=server.url, api_token=server.token(worker=True))
        owner.models.create("demo", "mine", visibility="private", hardware="cpu")
        owner._client.close()
        client = Client(base_url=server.url, api_token=server.token())
        yield client
        client._client.close()
    finally:
        if agent is not None:
            agent.close()
        server.close()


def picture(url: str) -> Image.Image:
    """Download as a browser would: no token, no redirect."""
    answer = httpx.get(url, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"] in ("image/png", "image/jpeg")
    assert answer.headers["x-content-type-options"] == "nosniff"
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def test_the_storyteller_streams_the_words_of_its_output(replicate: Client) -> None:
    story = {"prompt": "a test", "words": 80, "pace": "instant"}
    prediction = replicate.predictions.create(model="demo/storyteller", input=story, stream=True)
    streamed = [str(event) for event in prediction.stream() if event.event.value == "output"]
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.output == streamed
    assert len(streamed) > 20
    replayed = [str(event) for event in prediction.stream() if event.event.value == "output"]
    assert replayed == streamed
    assert replicate.run("demo/storyteller", input=story) == streamed


def test_by_version_the_client_iterates_over_the_words(replicate: Client) -> None:
    model = replicate.models.get("demo/storyteller")
    assert model.latest_version is not None
    story = {"prompt": "a test", "words": 80, "pace": "instant"}
    words = replicate.run(f"demo/storyteller:{model.latest_version.id}", input=story)
    assert "".join(words).strip().endswith(".")
    assert [version.id for version in model.versions.list()] == [model.latest_version.id]


def test_the_landscape_develops_and_is_the_same_for_the_same_seed(replicate: Client) -> None:
    view = {"seed": 3, "size": "640x400", "steps": 3}
    first = replicate.run("demo/landscape", input=view)
    again = replicate.run("demo/landscape", input=view)
    assert len(first) == 3
    sketches = [picture(url) for url in first]
    assert {sketch.size for sketch in sketches} == {(640, 400)}
    assert ImageChops.difference(sketches[0], sketches[-1]).getbbox()
    assert not ImageChops.difference(sketches[-1], picture(again[-1])).getbbox()


def test_a_picture_goes_in_through_an_upload_and_comes_out_restyled(replicate: Client) -> None:
    original = Image.linear_gradient("L").convert("RGB")
    file = io.BytesIO()
    original.save(file, "PNG")
    file.seek(0)
    file.name = "gradient.png"
    output = replicate.run("demo/restyle", input={"image": file, "style": "duotone"})
    assert ImageChops.difference(picture(str(output)), original).getbbox()


def test_a_wrong_input_is_refused_with_the_name_of_its_field(replicate: Client) -> None:
    from replicate.exceptions import ReplicateError

    with pytest.raises(ReplicateError, match=r"words"):
        replicate.run("demo/storyteller", input={"words": 1})


def test_the_mimic_writes_as_what_it_was_trained_with(replicate: Client) -> None:
    text = io.BytesIO(b"rain falls on roofs and rain falls on leaves ")
    text.name = "rain.txt"
    training = replicate.trainings.create(
        model="demo/mimic",
        version=replicate.models.get("demo/mimic").latest_version.id,
        input={"text": text},
        destination="demo/mine",
    )
    until(lambda: (training.reload(), training.completed_at)[1], "it is trained")
    assert (training.status, training.logs) == ("succeeded", "learned 5 words\n"), training.error
    said = replicate.run(training.output["version"], input={"words": 50})
    assert set(said.split()) <= set(text.getvalue().decode().split())
    assert replicate.run("demo/mine", input={"words": 50}) == said
    assert "bird" in replicate.run("demo/mimic", input={"words": 200})
