"""Refuses a websocket before its upgrade, with a status and a problem document."""

from typing import Any

from edge.errors import Problem
from edge.replies import PROBLEM_JSON


async def refuse_upgrade(receive: Any, send: Any, problem: Problem) -> None:
    """Answer the upgrade request with a status instead (ASGI extension ``websocket.http.response``)."""
    await receive()
    headers = [(b"content-type", PROBLEM_JSON), *problem.headers]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(problem.retry_after_s).encode()))
    await send({"type": "websocket.http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": problem.body(), "more_body": False})
