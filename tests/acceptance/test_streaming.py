"""What docs/how-to/streaming.md says, typed as it stands there, and the official Python client."""

import json
import re
import subprocess
from collections.abc import Callable

import httpx
import replicate

from tests.support import sse
from tests.support.commands import REPOSITORY, Agent, Server

PAGE = (REPOSITORY / "docs" / "how-to" / "streaming.md").read_text("utf-8")
BLOCKS = re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE)
STORYTELLER = f"demo/storyteller={REPOSITORY / 'examples' / 'models' / 'storyteller'}"
FILES = f"test/files={REPOSITORY / 'tests' / 'cog_server' / 'models' / 'stream_files'}"


def typed(server: Server, lines: str) -> bytes:
    done = subprocess.run(
        ["bash", "-euc", lines],
        env={"PATH": "/usr/bin:/bin", "SERVER": server.url, "TOKEN": server.token()},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_as_the_page_says(serve: Callable[..., Server], work: Callable[..., Agent]) -> None:
    server = serve()
    work(server, STORYTELLER).ready()
    output, follow = BLOCKS
    events, _ = sse.parse(typed(server, output))
    story = "".join(one.data for one in events if one.event == "output")
    assert len(story.split()) >= 60
    assert events[-1].event == "done"
    (made,) = server.client().get("/v1/predictions").json()["results"]
    everything, _ = sse.parse(typed(server, follow.replace("/ID", f"/{made['id']}")))
    assert [one.event for one in everything][-2:] == ["status", "done"]
    assert "".join(one.data for one in everything if one.event == "output") == story
    assert json.loads(everything[-2].data)["status"] == "succeeded"


def test_the_official_client_streams_text_and_files(
    serve: Callable[..., Server], work: Callable[..., Agent]
) -> None:
    server = serve()
    work(server, STORYTELLER, FILES, options=("--slots", "2")).ready()
    client = replicate.Client(api_token=server.token(), base_url=server.url)
    words = [str(one) for one in client.stream("demo/storyteller", input={"pace": "instant"})]
    story = "".join(words)
    assert len(story.split()) >= 60
    assert story == "".join(client.run("demo/storyteller", input={"pace": "instant"}))

    prediction = client.predictions.create(model="test/files", input={"count": 2}, stream=True)
    assert prediction.urls["stream"].startswith(f"{server.url}/v1/files/streams/")
    urls = [str(one) for one in prediction.stream() if one.event.value == "output"]
    assert [httpx.get(url).text for url in urls] == ["file 0", "file 1"]
