"""Why a prediction waits, what stands before it, and when it may begin.

Everything here is read in a turn of the coordinator (``model.py``) and changes nothing.
"""

from collections.abc import Sequence

from coordinator.book import Book, Entry, Session
from coordinator.calls import Explained, Reason
from coordinator.scheduling.census import Place
from coordinator.scheduling.flow import Needs
from coordinator.scheduling.forecast import Eta, eta
from coordinator.workers import Workers


def explain(book: Book, workers: Workers, entry: Entry) -> Explained:
    """Where a prediction stands. One that does not wait has no reason and no place."""
    document = entry.document
    if document.status.terminal or entry.attempt:
        return Explained(document=document)
    waiting = book.waiting(entry)
    needs = waiting.flow.needs
    fit = fitting(book, needs)
    working = [session for session in fit if workers.takes_work(session.agent)]
    place = book.queue.place(waiting, book.turn.now)
    soon = _begins(book, working, place, document.max_running)
    return Explained(
        document=document,
        reason=_reason(book, workers, needs, fit, working, place),
        position=place.ahead + 1,
        of=max(len(book.queue), place.ahead + 1),
        workers=len(book.sessions),
        running=len(book.running),
        eta_p50_s=None if soon is None else soon.p50,
        eta_p90_s=None if soon is None else soon.p90,
    )


def fitting(book: Book, needs: Needs) -> list[Session]:
    """The sessions whose workers would do."""
    return [s for s in book.sessions.values() if not s.leaving and needs.met_by(s.version, s.gpus)]


def _reason(
    book: Book,
    workers: Workers,
    needs: Needs,
    fit: Sequence[Session],
    working: Sequence[Session],
    place: Place,
) -> Reason:
    sessions = book.sessions.values()
    if workers.paused:
        return "paused"
    if not sessions:
        return "no_workers"
    if not fit:
        if needs.unfit and any(needs._replace(unfit="").met_by(s.version, s.gpus) for s in sessions):
            return "input_too_large"
        of_version = any(needs.version in ("", session.version) for session in sessions)
        return "no_such_hardware" if of_version else "no_such_version"
    if not working:
        states = {standing.state for s in fit if (standing := workers.standing(s.agent)) is not None}
        return "draining" if states == {"draining"} else "workers_unhealthy"
    if all(session.loading_since is not None for session in working):
        return "model_loading"
    if place.held:
        return "token_cap"
    return "behind_fair_share" if place.behind_share else "all_busy"


def _begins(book: Book, working: Sequence[Session], place: Place, max_running: int) -> Eta | None:
    """None without a worker, or without a run of this model to go by."""
    spread = book.forecast.spread()
    if spread is None:
        return None
    now, able = book.turn.monotonic, {id(session) for session in working}
    elapsed = [now - e.charged_at for e in book.running.values() if id(e.session) in able]
    found = eta(place.ahead, elapsed, sum(max(0, session.free) for session in working), spread)
    if found is None or not place.held:
        return found
    of_token = eta(place.of_token, elapsed[:max_running], 0, spread)
    return found if of_token is None else Eta(max(found.p50, of_token.p50), max(found.p90, of_token.p90))
