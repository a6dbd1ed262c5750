"""An agent without models: serves ``bench/model-000`` and on, with many slots, and answers at once.

Says ``ready`` on stdout when every model is attached; on SIGTERM prints what it counted, as JSON, and ends.
A server that refuses, cancels or resends ends it with a message: the run could not be counted.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
import traceback

import msgspec
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from coordinator.protocol.agent_session import AgentSession
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.messages import (
    PATH,
    SUBPROTOCOL,
    VERSION,
    Accepted,
    Ack,
    Attach,
    Attached,
    Dispatch,
    Finished,
    Hello,
    Reattach,
    ServerMessage,
    Welcome,
)

LIMITS = WireLimits()
OUTPUT = msgspec.Raw(b'"a light at the end of the pier, turning"')
METRICS = {"predict_time": msgspec.Raw(b"0.000001")}
SCHEMA = msgspec.Raw(
    msgspec.json.encode(
        {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "paths": {},
            "components": {
                "schemas": {
                    "Input": {
                        "title": "Input",
                        "type": "object",
                        "required": ["prompt"],
                        "properties": {
                            "prompt": {"title": "Prompt", "type": "string", "x-order": 0},
                            "steps": {
                                "title": "Steps",
                                "type": "integer",
                                "default": 4,
                                "minimum": 1,
                                "maximum": 50,
                                "x-order": 1,
                            },
                        },
                    },
                    "Output": {"title": "Output", "type": "string"},
                }
            },
        }
    )
)


class Counts(msgspec.Struct):
    dispatched: int = 0
    acknowledged: int = 0


class FakeAgent:
    """One connection with some of the models."""

    def __init__(self, numbers: range, slots: int, counts: Counts) -> None:
        self._numbers = numbers
        self._slots = slots
        self._counts = counts
        self._attached: set[int] = set()
        self.ready = asyncio.Event()
        self.socket: ClientConnection
        """While it runs."""
        hello = Hello(
            protocol=VERSION,
            agent=secrets.token_hex(16),
            incarnation=secrets.token_hex(16),
            name=f"bench-{numbers.start}",
            slots=slots,
            software="cogflare benchmark",
        )
        self._session = AgentSession(hello=hello, limits=LIMITS, now=time.monotonic())

    async def run(self, server: str, token: str) -> None:
        """Serve until cancelled. Raises when the connection ends or something is not as it should be."""
        async with connect(
            server.replace("http", "ws", 1) + PATH,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            ping_interval=None,
            max_size=LIMITS.frame_bytes,
        ) as socket:
            self.socket = socket
            await socket.send(self._session.greet(), text=True)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat(socket))
                async for frame in socket:
                    for message in self._session.receive(frame, time.monotonic()):
                        for reply in self._answer(message):
                            await socket.send(reply, text=True)
            raise ConnectionError("the server closed the connection")

    async def _beat(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._session.next_tick_at() - time.monotonic()))
            for frame in self._session.tick(time.monotonic()):
                await socket.send(frame, text=True)

    def _answer(self, message: ServerMessage) -> list[bytes]:
        send = self._session.send
        match message:
            case Dispatch(channel=channel):
                self._counts.dispatched += 1
                now = time.time_ns() // 1000
                accepted = Accepted(
                    channel=channel, prediction=message.prediction, attempt=message.attempt, started_at=now
                )
                finished = Finished(
                    channel=channel,
                    prediction=message.prediction,
                    attempt=message.attempt,
                    secret=message.secret,
                    status="succeeded",
                    output=OUTPUT,
                    metrics=METRICS,
                    started_at=now,
                    completed_at=now + 1,
                )
                frames = [send(accepted), send(finished)]
                credit = self._session.offer(channel, self._slots)
                return frames if credit is None else [*frames, send(credit)]
            case Ack():
                self._counts.acknowledged += 1
                return []
            case Welcome():
                return [send(self._attach(channel)) for channel in range(len(self._numbers))]
            case Attached(channel=channel):
                self._attached.add(channel)
                if len(self._attached) == len(self._numbers):
                    self.ready.set()
                return []
            case Reattach(channel=channel):
                return [send(self._attach(channel))]
        raise RuntimeError(f"unexpected: {message}")

    def _attach(self, channel: int) -> Attach:
        number = self._numbers[channel]
        return Attach(
            channel=channel,
            model=f"bench/model-{number:03}",
            version=f"{number + 1:064x}",
            openapi_schema=SCHEMA,
            cog_version="0.1.0",
            concurrency=self._slots,
            granted=self._slots,
        )


async def serve(server: str, token: str, models: int, slots: int) -> Counts:
    counts = Counts()
    per_agent = LIMITS.channels
    agents = [
        FakeAgent(range(first, min(first + per_agent, models)), slots, counts)
        for first in range(0, models, per_agent)
    ]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(agent.run(server, token)) for agent in agents]
        async with asyncio.timeout(30):
            for agent in agents:
                await agent.ready.wait()
        print("ready", flush=True)
        await ended.wait()
        for task in running:
            task.cancel()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--slots", type=int, default=128)
    options = parser.parse_args()
    try:
        counts = uvloop.run(
            serve(options.server, os.environ["COGFLARE_TOKEN"], options.models, options.slots)
        )
    except ExceptionGroup as errors:
        traceback.print_exception(errors)
        return 1
    print(msgspec.json.encode(counts).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
