"""The typed way to call a model's coordinator: one method for each call of ``calls.py``."""

from collections.abc import Sequence
from typing import Protocol

from coordinator import calls
from coordinator.errors import Unavailable


class Objects(Protocol):
    """Where the live objects are: this process' namespace, or a link to the process that has them."""

    async def call(self, number: int, call: calls.AnyCall, deadline_s: float) -> calls.AnyReply:
        """Ask and wait for the answer. Raises Unavailable."""

    def post(self, number: int, *posted: calls.AnyCall) -> bool:
        """Hand over, for one turn, in order and without an answer. False when no live object takes them."""

    def live(self, number: int) -> bool:
        """Whether the object is in memory, so that asking it is cheap."""


Posted = calls.FromAgent | calls.DetachSession | calls.MarkWorker | calls.OverflowBegun | calls.OverflowHeld


class ModelStub:
    """Calls one coordinator. Each method has a deadline, is safe to repeat, and raises ``Unavailable`` when
    the answer is unknown; cancelling the caller does not undo the call."""

    __slots__ = ("_deadline_s", "_objects", "number")

    def __init__(self, number: int, objects: Objects, deadline_s: float) -> None:
        self.number = number
        self._objects = objects
        self._deadline_s = deadline_s

    @property
    def live(self) -> bool:
        return self._objects.live(self.number)

    async def create(self, call: calls.Create) -> calls.Found | calls.Refused:
        reply = await self._objects.call(self.number, call, self._deadline_s + call.wait_s)
        if isinstance(reply, calls.Found | calls.Refused):
            return reply
        raise _unexpected(reply)

    async def create_again(self, call: calls.Create) -> calls.Creation:
        """A creation that others may have asked for before, or may ask for now. Unknown: look for it in the
        index; if it is not there, ask again with the ``life`` of that answer."""
        reply = await self._ask(call)
        if isinstance(reply, calls.Found | calls.Refused | calls.Unknown):
            return reply
        raise _unexpected(reply)

    async def create_many(self, creates: Sequence[calls.Create]) -> Sequence[calls.Creation]:
        """Several at once: one turn, one commit. Each as ``create_again``."""
        reply = await self._ask(calls.CreateMany(creates=tuple(creates)))
        if isinstance(reply, calls.Created):
            return reply.replies
        raise _unexpected(reply)

    async def get(self, call: calls.Get) -> calls.Found | calls.Unknown:
        return await self._find(call)

    async def why(self, call: calls.Why) -> calls.Explained | calls.Unknown:
        reply = await self._ask(call)
        if isinstance(reply, calls.Explained | calls.Unknown):
            return reply
        raise _unexpected(reply)

    async def room(self, call: calls.AskRoom) -> calls.RoomIs:
        reply = await self._ask(call)
        if isinstance(reply, calls.RoomIs):
            return reply
        raise _unexpected(reply)

    async def cancel(self, call: calls.Cancel) -> calls.Found | calls.Unknown:
        return await self._find(call)

    async def events_after(self, call: calls.EventsAfter) -> calls.Events | calls.Unknown:
        reply = await self._objects.call(self.number, call, self._deadline_s + call.timeout_s)
        if isinstance(reply, calls.Events | calls.Unknown):
            return reply
        raise _unexpected(reply)

    async def attach(self, call: calls.AttachSession) -> calls.Done | calls.NotAttached:
        """Attach a session; the coordinator itself sends ``attached`` to the agent."""
        reply = await self._ask(call)
        if isinstance(reply, calls.Done | calls.NotAttached):
            return reply
        raise _unexpected(reply)

    async def indexed(self, call: calls.Indexed) -> None:
        reply = await self._ask(call)
        if not isinstance(reply, calls.Done):
            raise _unexpected(reply)

    async def deliveries(self, call: calls.AskDeliveries) -> calls.Deliveries | calls.Unknown:
        reply = await self._ask(call)
        if isinstance(reply, calls.Deliveries | calls.Unknown):
            return reply
        raise _unexpected(reply)

    async def redeliver(self, call: calls.Redeliver) -> calls.Deliveries:
        reply = await self._ask(call)
        if isinstance(reply, calls.Deliveries):
            return reply
        raise _unexpected(reply)

    async def workers(self) -> tuple[calls.Worker, ...]:
        reply = await self._ask(calls.AskWorkers())
        if isinstance(reply, calls.WorkersAre):
            return reply.workers
        raise _unexpected(reply)

    async def pause(self, paused: bool) -> None:
        reply = await self._ask(calls.Pause(paused=paused))
        if not isinstance(reply, calls.Done):
            raise _unexpected(reply)

    async def queue(self) -> calls.QueueIs:
        reply = await self._ask(calls.AskQueue())
        if isinstance(reply, calls.QueueIs):
            return reply
        raise _unexpected(reply)

    async def mark_worker(self, call: calls.MarkWorker) -> None:
        reply = await self._ask(call)
        if not isinstance(reply, calls.Done):
            raise _unexpected(reply)

    async def attach_overflow(self, call: calls.AttachOverflow) -> None:
        """Attach the door to providers; the coordinator itself sends ``attached``."""
        reply = await self._ask(call)
        if not isinstance(reply, calls.Done):
            raise _unexpected(reply)

    def hand_over(self, *posted: Posted) -> bool:
        """Hand over what comes from an agent or is to be in order with it. False: no live object; attach the
        session again."""
        return self._objects.post(self.number, *posted)

    async def _find(self, call: calls.AnyCall) -> calls.Found | calls.Unknown:
        reply = await self._ask(call)
        if isinstance(reply, calls.Found | calls.Unknown):
            return reply
        raise _unexpected(reply)

    async def _ask(self, call: calls.AnyCall) -> calls.AnyReply:
        return await self._objects.call(self.number, call, self._deadline_s)


class Models:
    """Gives the stub of any coordinator by its object number; the same number, the same live object."""

    def __init__(self, objects: Objects, deadline_s: float) -> None:
        self._objects = objects
        self._deadline_s = deadline_s

    def stub(self, number: int) -> ModelStub:
        return ModelStub(number, self._objects, self._deadline_s)

    def live(self, number: int) -> bool:
        return self._objects.live(number)


def _unexpected(reply: object) -> Unavailable:
    return Unavailable(f"the coordinator answered {type(reply).__name__}")
