"""What OpenAI's clients get: completions, images, models and errors, in OpenAI's shapes. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

from coordinator.prediction import Document, Status
from edge.errors import Problem
from edge.frames import text_of

Ending = Literal["stop", "length"]

_CODES: Mapping[str, tuple[int, str, str | None]] = {
    "unauthenticated": (401, "invalid_request_error", "invalid_api_key"),
    "not_found": (404, "invalid_request_error", "model_not_found"),
    "invalid_version": (404, "invalid_request_error", "model_not_found"),
    "invalid_input": (400, "invalid_request_error", "invalid_value"),
    "throttled": (429, "requests", "rate_limit_exceeded"),
}
"""Our code -> status, type and code of OpenAI's. All others keep their status and code."""


class Failed(Problem):
    """The prediction did not succeed. Nothing is gained by asking again at once."""


def text_of_output(document: Document, output: Raw) -> str:
    """A text, or the pieces of one, as one text; anything else as JSON."""
    raw = bytes(output)
    if raw == b"null":
        return ""
    if raw.startswith(b"["):
        return "".join(text_of(item) for item in msgspec.json.decode(raw, type=list[Raw]))
    return text_of(output)


def usage(documents: Sequence[Document]) -> dict[str, int] | None:
    """Tokens, where the model counts them (Replicate's names); None where it does not."""
    asked = answered = 0
    for document in documents:
        metrics = msgspec.json.decode(document.metrics)
        given, made = metrics.get("input_token_count"), metrics.get("output_token_count")
        if not isinstance(given, int | float) or not isinstance(made, int | float):
            return None
        asked, answered = asked + int(given), answered + int(made)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def ending(document: Document, most: Any) -> Ending:
    """Why it ended: ``length`` where the model counts tokens and made as many as it was allowed."""
    counted = usage([document])
    full = counted is not None and isinstance(most, int) and counted["completion_tokens"] >= most > 0
    return "length" if full else "stop"


def completion(id: str, created: int, model: str, texts: Sequence[tuple[str, Ending]]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{id}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {
                "index": n,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": reason,
            }
            for n, (text, reason) in enumerate(texts)
        ],
    }


def chunk(
    id: str, created: int, model: str, delta: Mapping[str, Any] | None, reason: Ending | None = None
) -> dict[str, Any]:
    """A piece of a completion; one without a ``delta`` is for what is said of it all."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": f"chatcmpl-{id}",
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [] if delta is None else [choice],
    }


def why_failed(document: Document) -> Failed:
    """A prediction that has ended without an answer."""
    if document.status is Status.FAILED:
        return Failed("internal", f"The model failed: {document.error or 'it gives no reason'}")
    return Failed("unavailable", f"The prediction was canceled: {document.error or 'somebody asked for it'}")


def error(problem: Problem) -> tuple[int, dict[str, Any]]:
    """(status, body) of a refusal."""
    status, kind, code = _CODES.get(
        problem.code,
        (
            problem.status,
            "server_error" if problem.status >= 500 else "invalid_request_error",
            problem.code,
        ),
    )
    fields = problem.invalid_fields
    message = problem.detail.strip().removeprefix("- ") if len(fields) == 1 else problem.detail.strip()
    param = fields[0].field if fields else None
    return status, {"error": {"message": message, "type": kind, "param": param or None, "code": code}}
