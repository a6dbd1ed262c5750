"""Everything that can happen to one coordinator, in an order that a seed decides, and what must hold whatever
that is.

``Storm`` drives a real coordinator on real files in virtual time: clients of many accounts, workers of both
kinds, disks that fail, restarts. ``calm`` then lets all of it come to an end and looks at what is left.
"""

import asyncio
from collections import Counter
from typing import Any

from coordinator import calls
from coordinator.actor.errors import CommitFailed, ReadFailed
from coordinator.errors import Unavailable
from coordinator.model import Model
from coordinator.prediction import Document
from coordinator.protocol import messages as wire
from coordinator.waiting import flow_of, waits
from tests.support.coordination import Coordination, raw
from tests.support.storm_crowd import ACCOUNTS, Box, Crowd, Work, of_attempt
from tests.support.storm_mail import told_of_end
from tests.support.virtual_clock import breathe
from tests.support.waiting import until


class Storm(Crowd):
    """``steps`` random things, then ``calm``. Raises AssertionError with what did not hold."""

    restarts = True

    # --- what must hold all the time ----------------------------------------------------------------------

    def watch_caps(self) -> None:
        model = self.model
        if model is None:
            return
        running = Counter(e.document.token for e in model._book.running.values())
        for token, count in running.items():
            share = model._book.queue._owners.upper(ACCOUNTS[token], token)[1]
            assert share.running == count, f"{token} runs {count}, its share says {share.running}"

    def watch_counts(self) -> None:
        """With nothing in arrears, the queue knows of all that waits by its rows, and of nothing else."""
        model, file = self.model, self.house.files._files.get(self.house.number)
        if model is None or file is None or file._connection is None or self.house.storages._failures:
            return
        instance = self.house.coordinators.namespace._instances[self.house.number]
        if instance._written > instance._committed or instance._tasks:
            return
        queue = model._book.queue
        rows = file._connection.execute(
            "SELECT id, input_bytes FROM entries WHERE flow IS NOT NULL"
        ).fetchall()
        assert len(rows) == len(queue), f"{len(rows)} rows wait, the queue knows of {len(queue)}"
        assert sum(row[1] for row in rows) == queue.input_bytes
        here = set(queue._window.waiting)
        assert here <= {row[0] for row in rows}, "what is in memory is not on disk"
        for id in here:
            assert id in model._book.entries
        for id, entry in model._book.entries.items():
            if entry.attempt:
                assert id in model._book.running and id not in here
            elif not entry.document.status.terminal:
                assert entry.on_disk != (id in here), (entry.on_disk, id in here, entry)

    # --- one thing after the other ------------------------------------------------------------------------

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.step()
            if self.chance.random() < 0.8:
                await breathe()
                self.hear()
                self.watch_caps()
            assert self.house.fatal == []
            assert self.mail.faults == []

    async def step(self) -> None:
        chance, storages = self.chance, self.house.storages
        what = chance.random()
        box = chance.choice(self.boxes)
        if what < 0.30:
            self.asking.append(asyncio.ensure_future(self.create()))
        elif what < 0.36 and self.accepted:
            id = chance.choice(list(self.accepted))
            do = chance.choice((self.cancel, self.look, self.look, self.ask_why, self.redeliver))
            self.story.append(f"{do.__name__} {id}")
            self.asking.append(asyncio.ensure_future(do(id)))
        elif what < 0.37:
            self.asking.append(asyncio.ensure_future(self.create_again()))
        elif what < 0.74:
            await self._of_worker(box)
        elif what < 0.82:
            await self.advance(chance.choice((0.1, 1.0, 1.0, 5.0, 15.0, 40.0, 130.0)))
        elif what < 0.83:
            storages.hold_reads()
        elif what < 0.85:
            self.story.append("hold the index")
            self.indexing.clear()
        elif what < 0.86:
            storages.hold()
        elif what < 0.87:
            self.story.append("fail commit")
            storages.fail(CommitFailed("the disk is full"), after=chance.randrange(3))
        elif what < 0.875:
            self.story.append("fail read")
            storages.fail_read(ReadFailed("no handle"))
        elif what < 0.89:
            mark = chance.choice(("drain", "resume", "resume", "release", "release"))
            call = calls.MarkWorker(agent=box.agent, name=box.agent, mark=mark)
            self.story.append(f"{mark} {box.agent}")
            self.asking.append(asyncio.ensure_future(self._quietly(self.house.stub.mark_worker(call))))
        elif what < 0.90 and self.restarts:
            await self.restart(indexed=chance.random() < 0.5)
        elif what < 0.905:
            await self.everybody_leaves()
        elif what < 0.91:
            self.story.append("stall")
            await self.house.clock.stall(chance.choice((2.0, 60.0)))
        elif what < 0.915:
            storages.hold_loads()
        else:
            self.let_go()
            await self.settled()

    def let_go(self) -> None:
        """Whatever was held back goes on."""
        self.house.storages.let_go()
        self.indexing.set()

    async def _quietly(self, asked: Any) -> None:
        try:
            await asked
        except Unavailable:
            return

    async def _of_worker(self, box: Box) -> None:
        chance = self.chance
        if box.address is None or not box.attached:
            if chance.random() < 0.7:
                self.story.append(f"attach {box.name}")
                self.asking.append(asyncio.ensure_future(self.attach(box)))
            return
        works = [work for work in box.works.values() if work.phase != "finished"]
        what = chance.random()
        if what < 0.08 and not (box.legacy and len(works) < len(box.works)):
            self.story.append(f"lose {box.name}")
            self.lose(box, silent=chance.random() < 0.5 and all(w.phase == "given" for w in works))
        elif what < 0.12 and not box.legacy:
            self.story.append(f"die {box.name}")
            self.die(box)
        elif works:
            work = chance.choice(works)
            self._works_on(box, work)

    def _works_on(self, box: Box, work: Work) -> None:
        what = self.chance.random()
        running = work.phase == "running"
        self.story.append(f"{box.name} {work.dispatch.prediction} {work.dispatch.attempt} {what:.2f}")
        if not running and what < 0.7:
            self.accept(box, work)
        elif what < 0.78:
            self.finish(box, work)
        elif what < 0.83 and not box.legacy:
            self.refuse(box, work, self.chance.choice(("busy", "draining", "unavailable")))
        elif what < 0.88:
            self.finish(box, work, status="failed", error="no")
        elif what < 0.95 and not box.legacy:
            code = self.chance.choice(("runner_crashed", "runner_crashed", "runner_defunct", "upload_error"))
            self.finish(box, work, status="failed", error="it ended", error_code=code)
        elif running:
            work.said += 1
            event = wire.Event(seq=work.said, kind=self.chance.choice(("output", "logs")), data=raw("x"))
            self.say(box, wire.Progress(**of_attempt(work.dispatch), events=(event,)))

    async def advance(self, seconds: float) -> None:
        """Time passes, with no disk in arrears."""
        self.story.append(f"advance {seconds}")
        self.let_go()
        left = seconds
        while left > 0:
            await self.settled()
            self.hear()
            step = min(left, 5.0)
            await self.house.clock.advance(step)
            left -= step
        await self.settled()

    async def settled(self) -> None:
        for _ in range(2):
            await self.house.settled()
            await until(lambda: not self.house.storages.reading, "nothing is being read")
            await self.house.settled()
        self.watch_counts()

    async def answered(self) -> None:
        self.let_go()
        while self.asking:
            asking, self.asking = self.asking, []
            _, late = await asyncio.wait(asking, timeout=0.2)
            if late:  # they wait for time to pass
                await self.house.clock.advance(2.0)
            self.asking = list(late)
            for task in asking:
                if task.done():
                    task.result()

    async def restart(self, *, indexed: bool) -> None:
        self.story.append(f"restart {indexed}")
        await self.answered()
        for box in self.boxes:
            self.unattached(box)
            box.address = None
            if box.legacy:
                box.works.clear()
        await self.house.restart(indexed=indexed)

    async def everybody_leaves(self) -> None:
        """Until the coordinator leaves memory, if it may."""
        self.story.append("everybody leaves")
        await self.answered()
        for box in self.boxes:
            if not (box.legacy and box.works):
                self.lose(box)
        await self.advance(self.house.limits.idle_s + 5)

    # --- the end ------------------------------------------------------------------------------------------

    async def calm(self) -> None:
        """No more faults, and enough workers: all must come to its end, and nothing of it stay."""
        self.story.append("calm")
        await self.clear()
        await self.advance(130.0)
        for box in self.boxes:
            await self.mark(box, "resume")
            await self.mark(box, "release")
        while self.unsure:
            await self.create_again()
        for _ in range(6 * len(self.accepted) + 60):
            await self.workers_attach()
            await self.settled()
            self.hear()
            await self.nothing_waits_beside_a_free_worker()
            done = False
            for box in self.boxes:
                for work in list(box.works.values()):
                    if work.phase != "finished":
                        self.finish(box, work)
                        done = True
            await self.settled()
            self.hear()
            await self.settled()
            if {*self.accepted} <= {*self.ended} and not any(box.works for box in self.boxes):
                break
            if not done:
                await self.advance(5.0)
        await self.advance(130.0)
        await self.all_ends_are_told()
        await self.look_back()

    async def restored(self, other: Coordination, accepted: set[str], ended: dict[str, Document]) -> None:
        """Go on with a server that is what this one was, sometime since these were accepted, and had ended.
        What came later it may not know; what ran may run again."""
        self.house, self.ended = other, dict(ended)
        self.mail.forget()
        other.mail = self.mail
        self.runs.clear()
        self.unsure.clear()
        other.watch = self.watch
        for box in self.boxes:
            self.unattached(box)
            box.address = None
            self.expired |= {(id, attempt, box.name) for id, attempt in box.works}
            if box.legacy:
                box.works.clear()
        await other.start()
        await self.settled()
        for id in [id for id in self.accepted if id not in accepted]:
            try:
                await self.look(id)
            except AssertionError:
                del self.accepted[id]

    async def clear(self) -> None:
        """The disks are well again."""
        self.house.storages._failures.clear()
        self.house.storages._read_failures.clear()
        await self.answered()

    async def mark(self, box: Box, mark: Any) -> None:
        for _ in range(20):
            try:
                call = calls.MarkWorker(agent=box.agent, name=box.agent, mark=mark)
                return await self.house.stub.mark_worker(call)
            except Unavailable:
                await self.house.clock.advance(5.0)
        raise AssertionError("the coordinator does not come back")

    async def workers_attach(self) -> None:
        for box in self.boxes:
            for _ in range(3):
                if box.address is None or not box.attached:
                    await self.attach(box)
                    await self.settled()
                    self.hear()
            assert box.attached, f"{box.name} cannot attach"

    async def nothing_waits_beside_a_free_worker(self) -> None:
        model = self.model
        if model is None:
            return
        await self.house.clock.advance(0.0)
        await self.settled()
        book = model._book
        if self.chance.random() < 0.7 or not len(book.queue):
            return
        for id in [id for id in self.accepted if id not in self.ended]:
            if await self.could_run(id) and await self.could_run(id):
                raise AssertionError(
                    f"{id} waits beside a free worker; in memory: {book.queue.in_memory} of {len(book.queue)}"
                )

    async def could_run(self, id: str) -> bool:
        document = await self.look(id)
        await self.settled()
        model = self.model
        if model is None or document is None or not waits(document) or id in self.ended:
            return False
        book, workers = model._book, model._workers
        flow = flow_of(document)
        failed = {a.agent for a in document.attempts if a.outcome in ("lost", "crashed", "unfit")}
        fit = [
            s
            for s in book.sessions.values()
            if s.free > 0
            and workers.takes_work(s.agent)
            and flow.needs.met_by(s.version, s.gpus)
            and s.agent not in failed
        ]
        return bool(fit) and not book.queue._owners.upper(flow.account, flow.token)[1].held

    async def all_ends_are_told(self) -> None:
        """Once it is well, every receiver that wants it hears of every end, and the coordinator knows."""
        self.mail.well = True
        untold: list[str] = []
        for _ in range(60):
            untold = [
                id
                for id in self.accepted
                if told_of_end(self.ended[id]) and not (id in self.mail.delivered and await self.is_told(id))
            ]
            if not untold:
                break
            await self.house.clock.advance(60.0)
            await self.settled()
        assert self.mail.faults == []
        assert not untold, f"no receiver heard of the end of {untold}"

    async def is_told(self, id: str) -> bool:
        """For the coordinator, too."""
        ask = calls.AskDeliveries(id=id, account=self.accepted[id])
        reply = await self.house.stub.deliveries(ask)
        return isinstance(reply, calls.Deliveries) and reply.state == "delivered"

    async def look_back(self) -> None:
        assert {*self.accepted} <= {*self.ended}, f"not ended: {[*{*self.accepted} - {*self.ended}][:3]}"
        for id, account in self.accepted.items():
            indexed = await self.house.store.index.get(id, account)
            assert indexed is not None, f"the index lacks {id}"
            assert indexed.status is self.ended[id].status, (indexed, self.ended[id])
            assert indexed.output == self.ended[id].output
        for id, began in self.runs.items():
            document = self.ended.get(id)
            if document is None:
                continue
            most = document.max_attempts
            if document.retries is not None:
                most = min(most, document.retries + 1)
            count = len({attempt for box, attempt in began if not box.startswith("old")})
            assert count <= most, f"{id} ran {count} times, at most {most}: {document.attempts}"
        model = self.model
        if model is not None:
            await self.nothing_is_left(model)

    async def nothing_is_left(self, model: Model) -> None:
        book = model._book
        window, root = book.queue._window, book.queue._owners.root
        left = {
            "queue": len(book.queue),
            "bytes": book.queue.input_bytes,
            "entries": len(book.entries),
            "running": len(book.running),
            "ending": book.ending,
            "creations": len(book.creations),
            "places": len(book.creations._untold),
            "lines": len(window.lines),
            "shelves": len(window._shared),
            "low": len(window._low),
            "evicted": len(window.evicted),
            "tokens": len(window._tokens),
            "waiting": root.waiting,
            "charged": root.running,
            "children": len(root.children),
            "leaving": len(book._leaving),
            "feeds": len(book.feeds._feeds),
            "letters": len(book.outbox._hands) + len(book.outbox._lanes),
            "requests": self.mail.on_its_way,
            "probes": len(model._workers._probes),
            "needs": len(book.queue._order._needs) + len(book.queue._order._met),
            "lanes": sum(map(len, book.queue._order._lanes)),
        }
        assert not any(left.values()), {name: count for name, count in left.items() if count}
