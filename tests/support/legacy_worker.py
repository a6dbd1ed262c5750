"""A worker of 2022, scripted: run with websockets 10.3 on its path, it does on its socket what stdin says.

Each line of stdin is a JSON list: a verb and what it needs; each line of stdout one of what happened.
The process is one worker: it has one ``session_id``, whatever becomes of its connections.
"""

import asyncio
import json
import sys
from typing import Any

import websockets
from websockets.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatusCode


def tell(*event: Any) -> None:
    print(json.dumps(event), flush=True)


class Worker:
    def __init__(self) -> None:
        self.socket: Any = None
        self.reader: Any = None
        self.deaf = False

    async def connect(self, url: str) -> None:
        try:
            # As the worker has it: the library's own pings, compression offered, messages up to 1 MiB.
            self.socket = await connect(url)
        except InvalidStatusCode as error:
            tell("refused", error.status_code)
            return
        except OSError as error:
            tell("away", str(error))
            return
        tell("open", self.socket.response_headers.get("Sec-WebSocket-Extensions", ""))
        self.reader = asyncio.create_task(self.read(self.socket))

    async def read(self, socket: Any) -> None:
        try:
            async for frame in socket:
                tell("frame", frame)
        except ConnectionClosed:
            pass
        tell("closed", socket.close_code)

    async def send(self, frame: str) -> None:
        await self.socket.send(frame)

    async def ping(self) -> None:
        await asyncio.wait_for(await self.socket.ping(), 5)
        tell("pong")

    async def hang_up(self) -> None:
        """In order: a close frame, and the wait for the answer."""
        started = asyncio.get_running_loop().time()
        await self.socket.close()
        tell("hung up", asyncio.get_running_loop().time() - started)

    async def cut(self) -> None:
        """The connection dies."""
        self.socket.transport.abort()

    async def storm(self, url: str, count: int) -> None:
        """Dial as the worker does when it is sent away: at once, again and again."""
        for _ in range(count):
            await self.connect(url)


async def main() -> None:
    worker = Worker()
    tell("version", websockets.__version__)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *arguments = json.loads(line)
        try:
            await getattr(worker, verb)(*arguments)
        except ConnectionClosed:
            tell("lost", verb)


if __name__ == "__main__":
    asyncio.run(main())
