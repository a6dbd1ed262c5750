"""OpenAI's own client in front of our models, over the application itself."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from edge.inputs import VersionSchema
from edge.openai.inputs import Mapped, conversation
from edge.openai.words import Message
from tests.support.edge import BASE, MODEL, TestServer

SAYS_HI: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def client(server: TestServer) -> AsyncIterator[openai.AsyncOpenAI]:
    transport = httpx.ASGITransport(server.app)
    async with openai.AsyncOpenAI(
        base_url=f"{BASE}/openai/v1",
        api_key=server.token,
        max_retries=0,
        http_client=httpx.AsyncClient(transport=transport),
    ) as made:
        yield made


async def answered(server: TestServer, asking: Any, output: Any, **more: Any) -> Any:
    """What the client gets when the model gives this output; and the input that the model got."""
    task = asyncio.ensure_future(asking)
    dispatch = await server.agent.start()
    server.agent.finish(dispatch, output, **more)
    return await task, json.loads(bytes(dispatch.input))


def mapped(configured: dict[str, str] | None = None, **inputs: Any) -> Mapped:
    properties = {name: {"type": kind} if isinstance(kind, str) else kind for name, kind in inputs.items()}
    schemas = {"Input": {"type": "object", "properties": properties}}
    return Mapped(configured or {}, VersionSchema({"components": {"schemas": schemas}}))


class TestChat:
    async def test_an_answer(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        asking = client.chat.completions.create(model=MODEL, messages=SAYS_HI, temperature=0.5)
        metrics = {"input_token_count": 3, "output_token_count": 5}
        answer, given = await answered(server, asking, ["he", "llo"], metrics=metrics)
        assert given == {"text": "hi"}
        (choice,) = answer.choices
        assert (choice.message.role, choice.message.content, choice.finish_reason) == (
            "assistant",
            "hello",
            "stop",
        )
        assert answer.model == MODEL
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 8)

    async def test_tokens_that_nobody_counted_are_not_made_up(
        self, server: TestServer, client: openai.AsyncOpenAI
    ) -> None:
        asking = client.chat.completions.create(model=MODEL, messages=SAYS_HI)
        answer, _ = await answered(server, asking, "hello")
        assert answer.usage is None

    async def test_as_many_tokens_as_it_might_make_are_a_length(
        self, server: TestServer, client: openai.AsyncOpenAI
    ) -> None:
        asking = client.chat.completions.create(model=MODEL, messages=SAYS_HI, max_completion_tokens=5)
        metrics = {"input_token_count": 3, "output_token_count": 5}
        answer, _ = await answered(server, asking, "hello", metrics=metrics)
        assert answer.choices[0].finish_reason == "length"

    async def test_a_stream(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        async def read() -> list[Any]:
            options: Any = {"include_usage": True}
            stream = await client.chat.completions.create(
                model=MODEL, messages=SAYS_HI, stream=True, stream_options=options
            )
            return [piece async for piece in stream]

        reading = asyncio.ensure_future(read())
        dispatch = await server.agent.start()
        server.agent.progress(dispatch, (1, "output", "he"), (2, "logs", "step\n"), (3, "output", "l\nlo"))
        metrics = {"input_token_count": 1, "output_token_count": 2}
        server.agent.finish(dispatch, ["he", "l\nlo"], metrics=metrics)
        pieces = await reading
        deltas = [piece.choices[0].delta.content for piece in pieces if piece.choices]
        assert deltas == ["", "he", "l\nlo", None]
        assert [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1] == "stop"
        assert pieces[-1].usage.total_tokens == 3
        assert len({piece.id for piece in pieces}) == 1

    async def test_a_stream_whose_model_fails_raises(
        self, server: TestServer, client: openai.AsyncOpenAI
    ) -> None:
        async def read() -> None:
            stream = await client.chat.completions.create(model=MODEL, messages=SAYS_HI, stream=True)
            async for _ in stream:
                pass

        reading = asyncio.ensure_future(read())
        server.agent.finish(await server.agent.start(), None, status="failed", error="no memory")
        with pytest.raises(openai.APIError, match="The model failed: no memory"):
            await reading

    async def test_a_model_that_fails(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        asking = client.chat.completions.create(model=MODEL, messages=SAYS_HI)
        with pytest.raises(openai.InternalServerError, match="The model failed: no memory") as caught:
            await answered(server, asking, None, status="failed", error="no memory")
        assert caught.value.response.headers["x-should-retry"] == "false"

    async def test_several_answers(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        asking = asyncio.ensure_future(client.chat.completions.create(model=MODEL, messages=SAYS_HI, n=2))
        for text in ("one", "two"):
            server.agent.finish(await server.agent.start(), text)
            server.agent.offer()
        answer = await asking
        assert [(each.index, each.message.content) for each in answer.choices] == [(0, "one"), (1, "two")]

    async def test_who_waits_no_longer_has_it_canceled(self, server: TestServer) -> None:
        """Its connection is gone: nobody would ever see the answer."""
        body = json.dumps({"model": MODEL, "messages": SAYS_HI}).encode()
        sent, gone = [{"type": "http.request", "body": body, "more_body": False}], asyncio.Event()

        async def receive() -> Any:
            if sent:
                return sent.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/openai/v1/chat/completions",
            "raw_path": b"/openai/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {server.token}".encode()), (b"host", b"x")],
            "http_version": "1.1",
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "root_path": "",
        }
        serving = asyncio.ensure_future(server.app(scope, receive, send))
        dispatch = await server.agent.start()
        gone.set()
        await serving
        assert (await server.http.get(f"/v1/predictions/{dispatch.prediction}")).json()["status"] in (
            "processing",
            "canceled",
        )
        server.agent.finish(dispatch, "late")
        assert (await server.ended(dispatch.prediction))["status"] == "canceled"


class TestRefusals:
    async def test_no_such_model(self, client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match="does not exist") as caught:
            await client.chat.completions.create(model="gpt-5", messages=SAYS_HI)
        assert caught.value.code == "model_not_found"

    async def test_a_wrong_key(self, client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.with_options(api_key="wrong").models.list()
        assert caught.value.code == "invalid_api_key"

    async def test_a_wrong_value_names_its_parameter(self, client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=MODEL, messages=SAYS_HI, n=11)
        assert caught.value.param == "n"
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=MODEL, messages=[])
        assert caught.value.param == "messages"

    async def test_what_the_model_refuses(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        """By the input that its configuration names for it."""
        await server.services.store.models.configure(MODEL, {"openai": {"max_tokens": "n"}})
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=MODEL, messages=SAYS_HI, max_tokens=99)
        assert caught.value.param == "input.n"

    async def test_too_often(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        token = await server.secret("small", creations_per_min=1)
        small = client.with_options(api_key=token)
        asking = small.chat.completions.create(model=MODEL, messages=SAYS_HI)
        await answered(server, asking, "hi")
        with pytest.raises(openai.RateLimitError) as caught:
            await small.chat.completions.create(model=MODEL, messages=SAYS_HI)
        assert int(caught.value.response.headers["retry-after"]) >= 1

    @pytest.mark.parametrize("body", [b"{", b"[]", b"3", b"\xff", b'{"model": 3}'])
    async def test_what_is_no_request(self, server: TestServer, body: bytes) -> None:
        for path in ("chat/completions", "images/generations"):
            answer = await server.http.post(f"/openai/v1/{path}", content=body)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["message"]


class TestImages:
    async def test_by_url(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        asking = client.images.generate(model=MODEL, prompt="a pier", size="1024x768")
        answer, given = await answered(server, asking, ["https://x.example/1.png", "https://x.example/2.png"])
        assert given == {"text": "a pier"}
        assert [each.url for each in answer.data] == ["https://x.example/1.png", "https://x.example/2.png"]

    async def test_in_the_answer(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        picture = "data:image/png;base64," + base64.b64encode(b"png").decode()
        asking = client.images.generate(model=MODEL, prompt="a pier", response_format="b64_json")
        answer, _ = await answered(server, asking, picture)
        assert base64.b64decode(answer.data[0].b64_json) == b"png"

    async def test_a_model_that_makes_no_images(self, server: TestServer, client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.InternalServerError, match="is no image"):
            await answered(server, client.images.generate(model=MODEL, prompt="a pier"), "a text")


class TestModels:
    async def test_the_list_and_one(self, client: openai.AsyncOpenAI) -> None:
        assert [each.id async for each in client.models.list()] == [MODEL]
        answer = await client._client.get(
            f"{BASE}/openai/v1/models/{MODEL}", headers={"authorization": f"Bearer {client.api_key}"}
        )
        assert answer.json()["owned_by"] == MODEL.partition("/")[0]
        with pytest.raises(openai.NotFoundError):
            await client.get("/models/no/body", cast_to=object)


class TestMapping:
    def test_messages_are_given_on_to_a_model_that_takes_them(self) -> None:
        said = [{"role": "user", "content": "hi", "name": "ann"}]
        messages = [Message("user", "hi")]
        assert mapped(messages="array").chat(messages, {"messages": said}) == {"messages": said}
        as_text = mapped(messages="string").chat(messages, {"messages": said})
        assert json.loads(as_text["messages"]) == said

    def test_a_system_prompt_has_its_own_input_where_there_is_one(self) -> None:
        messages = [Message("system", "be kind"), Message("user", "hi")]
        given = mapped(prompt="string", system_prompt="string").chat(messages, {})
        assert given == {"prompt": "hi", "system_prompt": "be kind"}
        assert mapped(prompt="string").chat(messages, {})["prompt"].startswith("System: be kind\n\nUser: hi")

    def test_a_conversation_says_who_spoke(self) -> None:
        messages = [Message("user", "hi"), Message("assistant", "hello"), Message("user", "bye")]
        assert conversation(messages) == "User: hi\n\nAssistant: hello\n\nUser: bye\n\nAssistant:"

    def test_parts_are_texts_and_images(self) -> None:
        parts: list[dict[str, Any]] = [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "https://x.example/1.png"}},
        ]
        given = mapped(prompt="string", image="string").chat([Message("user", parts)], {})
        assert given == {"prompt": "what is it?", "image": "https://x.example/1.png"}

    @pytest.mark.parametrize(
        ("inputs", "wanted"),
        [
            ({"size": "string"}, {"size": "1024x768"}),
            ({"width": "integer", "height": "integer"}, {"width": 1024, "height": 768}),
            ({"aspect_ratio": "string"}, {"aspect_ratio": "4:3"}),
            ({}, {}),
        ],
    )
    def test_a_size_is_what_the_model_takes(self, inputs: dict[str, str], wanted: dict[str, Any]) -> None:
        given, count = mapped(prompt="string", **inputs).images("x", {"size": "1024x768", "n": 1})
        assert (given, count) == ({"prompt": "x", **wanted}, 1)

    def test_several_images_are_one_prediction_where_the_model_makes_several(self) -> None:
        assert mapped(prompt="string", num_outputs="integer").images("x", {"n": 3}) == (
            {"prompt": "x", "num_outputs": 3},
            1,
        )
        assert mapped(prompt="string").images("x", {"n": 3})[1] == 3

    def test_configuration_goes_before_names(self) -> None:
        configured = {"prompt": "words", "temperature": "", "max_tokens": "length"}
        one = mapped(configured, words="string", prompt="string", temperature="number", length="integer")
        asked = {"temperature": 0.5, "max_completion_tokens": 7}
        assert one.chat([Message("user", "hi")], asked) == {"words": "hi", "length": 7}

    def test_stop_is_a_text_or_a_list(self) -> None:
        for kind, given, wanted in (
            ("string", ["a", "b"], "a,b"),
            ("array", "a", ["a"]),
            ("array", ["a"], ["a"]),
        ):
            found = mapped(prompt="string", stop=kind).chat([Message("user", "hi")], {"stop": given})
            assert found["stop"] == wanted

    def test_what_is_called_as_an_input_is_given_on(self) -> None:
        found = mapped(prompt="string", guidance="number").chat(
            [Message("user", "x")], {"guidance": 3, "top_k": 1}
        )
        assert found == {"prompt": "x", "guidance": 3}
