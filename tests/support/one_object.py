"""One object in the actor runtime, instance after instance, without a namespace around it."""

import asyncio
from typing import Any

from coordinator.actor.instance import Instance
from tests.support.faulty_storage import FaultyStorages
from tests.support.ledger import Ledger, World
from tests.support.virtual_clock import VirtualClock

DEADLINE_S = 30.0


class House:
    """Starts instances of object 1, one after the other."""

    def __init__(self, storages: FaultyStorages, clock: VirtualClock, world: World) -> None:
        self.storages = storages
        self.clock = clock
        self.world = world
        self.broken: list[Instance] = []
        self.ledger: Ledger
        self.started: list[Instance] = []

    async def start(self, **attributes: Any) -> Instance:
        self.ledger = Ledger(1)
        for name, value in attributes.items():
            setattr(self.ledger, name, value)
        instance = Instance(
            1,
            self.ledger,
            self.storages.storage(1),
            clock=self.clock,
            outside=self.world,
            on_broken=self.broken.append,
            before_timer=lambda: None,
        )
        self.started.append(instance)
        await instance.start()
        return instance

    async def again(self, **attributes: Any) -> Instance:
        """The next instance, once the last one's writer has ended."""
        await self.started[-1].writer_ended()
        return await self.start(**attributes)


def ask(instance: Instance, call: Any, deadline_s: float = DEADLINE_S) -> "asyncio.Task[Any]":
    return asyncio.ensure_future(instance.call(call, deadline_s))
