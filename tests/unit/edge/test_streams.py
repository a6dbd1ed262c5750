"""Event streams over HTTP: what a reader gets, when it ends, and how it goes on after a cut."""

from tests.support.edge import Event, TestServer


async def test_output_comes_as_it_is_made(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    reader = server.listen(made["urls"]["stream"])
    server.agent.progress(dispatch, (1, "output", "Hel"), (2, "output", "lo\n you"))
    assert await reader.until(2) == [Event("output", "1:1", "Hel"), Event("output", "1:2", "lo\n you")]
    assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert reader.text.startswith(": hi\n\n")
    server.agent.finish(dispatch, ["Hel", "lo\n you"])
    assert (await reader.end())[2:] == [Event("done", "1:3", "{}")]
    assert reader.ended


async def test_what_was_never_streamed_comes_at_the_end(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    reader = server.listen(made["urls"]["stream"])
    server.agent.progress(dispatch, (1, "logs", "said\n"), (2, "output", "a"))
    await reader.until(2)
    server.agent.finish(dispatch, ["a", "b", {"c": 1}])
    assert await reader.end() == [
        Event("logs", "1:1.0", "said\n"),
        Event("output", "1:2.1", "a"),
        Event("output", "1:3.2", "b"),
        Event("output", "1:4.3", '{"c":1}'),
        Event("done", "1:5.4", "{}"),
    ]


async def test_an_ended_prediction_is_replayed_and_resumed(server: TestServer) -> None:
    done = await server.run(["a", "b", "c"], logs="said\n")
    url = done["urls"]["stream"]
    whole = await server.listen(url).end()
    assert whole == [
        Event("logs", "1:0", "said\n"),
        Event("output", "1:1", "a"),
        Event("output", "1:2", "b"),
        Event("output", "1:3", "c"),
        Event("done", "1:4", "{}"),
    ]
    await server.indexed(done["id"])
    assert await server.listen(url, "1:2").end() == whole[3:]
    stopped = server.listen(url, "1:4")
    await stopped.end()
    assert stopped.status == 204


async def test_a_reader_that_comes_back_gets_the_rest(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    first = server.listen(made["urls"]["stream"])
    server.agent.progress(dispatch, (1, "output", "a"), (2, "logs", "x"), (3, "output", "b"))
    seen = await first.until(3)
    await first.leave()
    second = server.listen(made["urls"]["stream"], seen[0].id)
    assert await second.until(2) == seen[1:]
    await second.leave()
    server.agent.finish(dispatch, ["a", "b", "c"])
    await server.ended(made["id"])
    rest = await server.listen(made["urls"]["stream"], seen[2].id).end()
    assert [one.data for one in rest] == ["c", "{}"]


async def test_failed_and_canceled_say_so(server: TestServer) -> None:
    failed = await server.run(None, status="failed", error="it broke")
    assert await server.listen(failed["urls"]["stream"]).end() == [
        Event("error", "1:1", '{"detail":"it broke"}'),
        Event("done", "1:1", '{"reason":"error"}'),
    ]
    queued = await server.create()
    reader = server.listen(queued["urls"]["stream"])
    await server.http.post(f"/v1/predictions/{queued['id']}/cancel")
    assert [(one.event, one.data) for one in await reader.end()] == [("done", '{"reason":"canceled"}')]


async def test_a_stream_ends_when_its_token_is_revoked(server: TestServer) -> None:
    secret = await server.secret("brief")
    made = await server.create(authorization=f"Bearer {secret}")
    reader = server.listen(made["urls"]["stream"])
    dispatch = await server.agent.start()
    server.agent.progress(dispatch, (1, "output", "a"))
    await reader.until(1)
    # Nobody tells the server: it finds out by itself, within a second.
    await server.services.store.tokens.revoke("brief")
    await reader.end()
    again = server.listen(made["urls"]["stream"])
    await again.end()
    assert again.status == 404


async def test_a_stream_ends_when_the_server_leaves(server: TestServer) -> None:
    made = await server.create()
    reader = server.listen(made["urls"]["stream"])
    dispatch = await server.agent.start()
    server.agent.progress(dispatch, (1, "output", "a"))
    await reader.until(1)
    server.services.draining.set()
    assert len(await reader.end()) == 1
    assert reader.ended


async def test_made_up_stream_tokens_are_404(server: TestServer) -> None:
    made = await server.create()
    url = made["urls"]["stream"]
    for wrong in (url[:-2], url + "x", f"/v1/streams/{made['id']}", "/v1/streams/ä.b", "/v1/streams/a"):
        reader = server.listen(wrong)
        await reader.end()
        assert reader.status == 404
