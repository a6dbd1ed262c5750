"""Where output files go: into the answer, or to a place that takes uploads."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from gpu_agent import disk
from gpu_agent.runner_types import FileOutput
from gpu_agent.server.orders import Order
from gpu_agent.server.outgoing import Answer, Outgoing, SendFailed, SendRefused

FIRST_PAUSE_S = 0.2
INLINE_BYTES = 64 * 1024
"""Larger files are read and encoded in a thread."""


class NotStored(Exception):
    """An output file could not be placed; the text is fit for the client's eyes."""


class OutputFiles:
    """Places the output files of one prediction, one after the other: their order is kept.

    ``output_file_prefix`` of the request wins over ``upload_url``; without both a file becomes a data URL.
    """

    def __init__(
        self,
        order: Order,
        *,
        client: Outgoing,
        operators: Outgoing,
        upload_url: str,
        user_agent: str,
        tries: int,
        try_s: float,
    ) -> None:
        """``client`` sends to where the request says, ``operators`` to where the operator does."""
        self._prefix = order.output_prefix
        self._sender = client if self._prefix else operators
        self._base = upload_url if upload_url.endswith("/") or not upload_url else f"{upload_url}/"
        self._headers = (*order.trace, ("X-Prediction-ID", quote(order.id)), ("User-Agent", user_agent))
        self._tries = tries
        self._try_s = try_s
        self._names: set[str] = set()

    async def place(self, file: FileOutput) -> str:
        """The URL that stands for the file in the output. Raises ``NotStored``. Cancelling is safe."""
        try:
            size = file.path.stat().st_size
            if not self._prefix and not self._base:
                if size <= INLINE_BYTES:
                    return _data_url(file)
                return await asyncio.to_thread(_data_url, file)
            return await self._upload(file, self._name(file.name), size)
        except OSError as error:
            raise NotStored(f"output file {file.name} cannot be read: {error.strerror}") from None

    def _name(self, name: str) -> str:
        """Its name, or one beside it: files of one prediction must not overwrite each other."""
        stem, dot, extension = name.rpartition(".")
        stem, suffix = (stem, dot + extension) if stem else (name, "")
        number, free = 0, name
        while free in self._names:
            number += 1
            free = f"{stem}-{number}{suffix}"
        self._names.add(free)
        return free

    async def _upload(self, file: FileOutput, name: str, size: int) -> str:
        url = (self._prefix or self._base) + quote(name)
        problem = ""
        for number in range(self._tries):
            if number:
                await asyncio.sleep(FIRST_PAUSE_S * 2 ** (number - 1))
            try:
                answer = await self._put(url, file, name, size)
            except SendRefused as error:
                problem = str(error)
                break
            except SendFailed as error:
                problem = str(error)
                continue
            if answer.ok:
                return (answer.location or url).partition("?")[0]
            problem = f"the answer to the upload was {answer.status}"
            if not answer.passing:
                break
        raise NotStored(f"output file {file.name} could not be stored: {problem}")

    async def _put(self, url: str, file: FileOutput, name: str, size: int) -> Answer:
        content_type = file.content_type or "application/octet-stream"
        if not self._prefix:
            headers = (("Content-Type", content_type), ("Content-Length", str(size)), *self._headers)
            return await self._sender.send("PUT", url, headers, disk.read(file.path), timeout_s=self._try_s)
        boundary = secrets.token_hex(16)
        shown = name.replace("\\", "%5C").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\n'
            f"Content-Type: {content_type}\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = (
            ("Content-Type", f"multipart/form-data; boundary={boundary}"),
            ("Content-Length", str(len(head) + size + len(tail))),
            *self._headers,
        )
        return await self._sender.send(
            "PUT", url, headers, _around(head, file.path, tail), timeout_s=self._try_s
        )


def _data_url(file: FileOutput) -> str:
    content_type = file.content_type or "application/octet-stream"
    return f"data:{content_type};base64,{base64.b64encode(file.path.read_bytes()).decode('ascii')}"


async def _around(head: bytes, path: Path, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    async for chunk in disk.read(path):
        yield chunk
    yield tail
