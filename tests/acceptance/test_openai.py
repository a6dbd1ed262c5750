"""What docs/how-to/openai.md says, typed as it stands there, and OpenAI's client on the example models."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai

from tests.support.commands import REPOSITORY, Agent, Server, run, until

PAGE = (REPOSITORY / "docs" / "how-to" / "openai.md").read_text("utf-8")
MODELS = REPOSITORY / "examples" / "models"
SAYS_HI: list[Any] = [{"role": "user", "content": "a lighthouse"}]


def test_as_the_page_says(serve: Callable[..., Server], work: Callable[..., Agent], tmp_path: Path) -> None:
    server = serve()
    work(server, f"me/hello={MODELS / 'storyteller'}").ready()
    (tmp_path / "app.token").write_text(server.token())
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    typed = subprocess.run(
        [sys.executable, "-c", script.replace("http://127.0.0.1:8000", server.url)],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert typed.returncode == 0, typed.stderr
    assert len(typed.stdout.split()) >= 60
    (command,) = re.findall(r"cogflare (model set me/hello --openai) '(.*)'", PAGE)
    done = run(*command[0].split(), command[1], "--data", str(server.data))
    assert done.returncode == 0, done.stderr
    assert "openai: " in done.stdout


def test_a_configuration_that_is_none_is_refused(serve: Callable[..., Server]) -> None:
    server = serve()
    for words, why in (
        ("{", "is not JSON"),
        ('{"prompt": 3}', "must be an object"),
        ('{"tools": "x"}', "tools"),
    ):
        done = run("model", "set", "me/hello", "--openai", words, "--data", str(server.data))
        assert done.returncode == 2
        assert why in done.stderr


def test_the_client_on_the_examples(serve: Callable[..., Server], work: Callable[..., Agent]) -> None:
    server = serve()
    models = [f"demo/{name}={MODELS / name}" for name in ("storyteller", "landscape")]
    work(server, *models, options=("--slots", "2")).ready()
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key=server.token()) as client:
        assert {each.id for each in client.models.list()} == {"demo/storyteller", "demo/landscape"}
        whole = client.chat.completions.create(
            model="demo/storyteller", messages=SAYS_HI, extra_body={"pace": "instant"}
        )
        said = client.chat.completions.create(
            model="demo/storyteller", messages=SAYS_HI, extra_body={"pace": "instant"}, stream=True
        )
        pieces = [piece.choices[0].delta.content or "" for piece in said]
        assert len([piece for piece in pieces if piece]) > 10, "in pieces"
        assert "".join(pieces) == whole.choices[0].message.content
        named = run(
            "model", "set", "demo/landscape", "--openai", '{"prompt": "hour"}', "--data", str(server.data)
        )
        assert named.returncode == 0, named.stderr
        made = until(lambda: picture(client), "the server has heard of it")
        assert made.data is not None
        assert base64.b64decode(made.data[0].b64_json or "").startswith(b"\x89PNG")


def picture(client: openai.OpenAI) -> Any:
    try:
        return client.images.generate(
            model="demo/landscape",
            prompt="dawn",
            size="640x400",  # type: ignore[arg-type]
            response_format="b64_json",
            extra_body={"steps": 1},
        )
    except openai.BadRequestError as error:
        assert "has no input that takes a prompt" in error.message
        return None


def test_a_stream_that_nobody_reads_is_canceled(
    serve: Callable[..., Server], work: Callable[..., Agent]
) -> None:
    server = serve()
    work(server, f"demo/storyteller={MODELS / 'storyteller'}").ready()
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key=server.token()) as client:
        stream = client.chat.completions.create(model="demo/storyteller", messages=SAYS_HI, stream=True)
        for piece in stream:
            if piece.choices[0].delta.content:
                break
        stream.close()
    calls = server.calls()
    (id,) = (one["id"] for one in calls.http.get("/v1/predictions").json()["results"])
    until(lambda: calls.get(id)["status"] == "canceled", "it is canceled")
