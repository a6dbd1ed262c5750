"""A server whose files are in a bucket: what goes past it and through it, and what it says at its start."""

import io
import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.support.commands import REPOSITORY, Agent, Command, Server, run, until
from tests.support.proxy import Proxy
from tests.support.seaweed import BUCKET, KEY, SECRET, SeaweedFS

RESTYLE = f"demo/restyle={REPOSITORY / 'examples' / 'models' / 'restyle'}"


@pytest.fixture
def road(seaweed: SeaweedFS) -> Iterator[Proxy]:
    """The way that agents and clients take to the store; the server has its own."""
    proxy = Proxy(urlsplit(seaweed.endpoint).port or 0)
    yield proxy
    proxy.close()


@pytest.fixture
def prefix() -> str:
    return f"a{secrets.token_hex(4)}"


@pytest.fixture
def server(seaweed: SeaweedFS, road: Proxy, prefix: str, stack: ExitStack, tmp_path: Path) -> Server:
    storage = seaweed.url(prefix, public_endpoint=road.url)
    options = ("--storage", storage, "--file-redirect", "bucket")
    server = Server(tmp_path / "data", *options, environment=seaweed.environment)
    stack.callback(server.close)
    return server.start()


@pytest.fixture
def agent(server: Server, stack: ExitStack, tmp_path: Path) -> Agent:
    """It has no key of the bucket: only the server's environment has one."""
    agent = Agent(server, tmp_path / "agent", RESTYLE)
    stack.callback(agent.close)
    return agent.ready()


def picture() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "PNG")
    return file.getvalue()


def restyled(server: Server) -> dict[str, Any]:
    calls = server.calls()
    uploaded = calls.http.post("/v1/files", files={"content": ("ein Bild.png", picture(), "image/png")})
    given = {"image": uploaded.json()["urls"]["get"], "style": "duotone"}
    return calls.ended(calls.create("demo/restyle", given)["id"])


def objects(seaweed: SeaweedFS, prefix: str) -> dict[str, dict[str, str]]:
    """Metadata of each object below the prefix, by key."""
    import botocore.session

    client = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=seaweed.endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    try:
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", ())
        keys = [each["Key"] for each in found]
        return {key: client.head_object(Bucket=BUCKET, Key=key)["Metadata"] for key in keys}
    finally:
        client.close()


def test_an_agents_files_go_past_the_server(
    server: Server, agent: Agent, road: Proxy, seaweed: SeaweedFS, prefix: str
) -> None:
    ended = restyled(server)
    assert ended["status"] == "succeeded", ended["error"]
    (output,) = [known for key, known in objects(seaweed, prefix).items() if "/outputs/" in key]
    assert "sha256" in output
    assert "md5" not in output  # which only the server would have told it


def test_an_agent_that_cannot_reach_the_store_goes_through_the_server(
    server: Server, agent: Agent, road: Proxy, seaweed: SeaweedFS, prefix: str
) -> None:
    road.cut()
    ended = restyled(server)
    assert ended["status"] == "succeeded", ended["error"]
    (output,) = [known for key, known in objects(seaweed, prefix).items() if "/outputs/" in key]
    assert "md5" in output


def test_readers_are_sent_on_unless_a_token_comes_along(server: Server, agent: Agent, road: Proxy) -> None:
    url = restyled(server)["output"]
    assert url.startswith(server.url)
    plain = httpx.get(url)
    assert plain.status_code == 302
    assert plain.headers["location"].startswith(road.url)
    followed = httpx.get(url, follow_redirects=True)
    assert (followed.status_code, followed.headers["content-type"]) == (200, "image/png")
    with_token = httpx.get(url, headers={"Authorization": f"Bearer {server.token()}"})
    assert (with_token.status_code, with_token.content) == (200, followed.content)
    assert httpx.head(url).status_code == 200
    part = httpx.get(url, headers={"Authorization": "Bearer x", "Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")


def test_a_backup_has_all_but_the_files(server: Server, agent: Agent, tmp_path: Path) -> None:
    id = restyled(server)["id"]
    made = run("backup", str(tmp_path / "backup"), "--data", str(server.data), "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["files"] == 0
    assert "are not in the backup" in made.stderr
    assert run("restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new")).returncode == 0
    assert server.stop() == 0
    server.data = tmp_path / "new"
    server.start()
    again = server.calls().get(id)
    assert httpx.get(again["output"], follow_redirects=True).status_code == 200


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--storage", "s3://nothing-here?endpoint={endpoint}"), 5, "there is no bucket nothing-here"),
        (("--storage", "s3://x"), 2, "no name of a bucket"),
        (("--storage", "ftp://files"), 2, "neither file:// nor s3://"),
        (("--file-redirect", "bucket"), 2, "needs --storage s3://"),
    ],
)
def test_what_cannot_be_is_said_at_the_start(
    seaweed: SeaweedFS, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    given = [each.format(endpoint=seaweed.endpoint) for each in options]
    command = Command(
        "serve", "--port", "0", "--data", str(tmp_path / "d"), *given, environment=seaweed.environment
    )
    try:
        assert command.process.wait(60) == code
        until(lambda: any(said in line for line in command.lines), said)
    finally:
        command.close()


def test_files_may_be_in_another_folder(stack: ExitStack, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--storage", f"file://{tmp_path / 'else where'}")
    stack.callback(server.close)
    server.start()
    answer = server.client().post("/v1/files", files={"content": ("a.txt", b"hello", "text/plain")})
    assert answer.status_code == 201
    assert [path.read_bytes() for path in (tmp_path / "else where").rglob("a.txt")] == [b"hello"]
    made = run("backup", str(tmp_path / "backup"), "--data", str(server.data), "--json")
    assert json.loads(made.stdout)["files"] == 1
