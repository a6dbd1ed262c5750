"""What a runner's result comes to: the status, error code and output that the server is told. Pure."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from coordinator.protocol.messages import Finished
from gpu_agent.output import BadOutput, to_json
from gpu_agent.runner_types import FileOutput, Result
from gpu_agent.spool import LocalFile
from gpu_agent.transfer import UploadDenied, UploadFailed

Status = Literal["succeeded", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended, if nothing else happened to it meanwhile."""

    status: Status
    error: str | None = None
    code: str | None = None
    output: bytes | None = None
    """As JSON; None when it is what was streamed."""
    files: tuple[LocalFile, ...] = ()


def verdict_of(result: Result, run_s: float, *, streamed: bool, output_limit: int) -> Verdict:
    """``run_s`` is what it had to run, ``output_limit`` is in bytes."""
    if result.status == "failed" and result.error_code == "timeout":
        return Verdict("failed", timed_out(run_s), "run_timeout")
    if result.status != "succeeded":
        return Verdict(result.status, result.error, result.error_code)
    if streamed:
        return Verdict("succeeded")
    try:
        output = to_json(result.output)
    except BadOutput as error:
        return Verdict("failed", str(error), "invalid_output")
    if len(output) > output_limit:
        return Verdict("failed", too_large(output_limit), "output_too_large")
    return Verdict("succeeded", output=output, files=tuple(map(local_file, result.files)))


def metrics_of(result: Result) -> dict[str, Any]:
    """The model's own, and ``predict_time`` in seconds, which is ours to say."""
    metrics = {
        name: msgspec.Raw(to_json(value)) for name, value in result.metrics.items() if name != "predict_time"
    }
    predict_s = max(0, result.completed_at - result.started_at) / 1e6
    metrics["predict_time"] = msgspec.Raw(msgspec.json.encode(round(predict_s, 6)))
    return metrics


def local_file(file: FileOutput) -> LocalFile:
    return LocalFile(
        pointer=file.pointer, path=str(file.path), name=file.name, content_type=file.content_type
    )


def upload_code(error: UploadFailed) -> str:
    """A file that was refused says nothing of the machine, one that could not be stored may."""
    return "upload_refused" if isinstance(error, UploadDenied) else "upload_error"


def timed_out(run_s: float) -> str:
    return f"the prediction ran longer than its limit of {run_s:g} s"


def too_large(limit_bytes: int) -> str:
    return f"the output is larger than {limit_bytes} bytes, the server's limit result_bytes"


def without_output(finished: Finished, status: Status, error: str | None, code: str | None) -> Finished:
    return msgspec.structs.replace(
        finished, status=status, output=msgspec.Raw(b"null"), files=(), error=error, error_code=code
    )
