"""Workers of 2022, as a coordinator has to do with them. Their wire is ``edge/legacy``.

They run one job at a time, cannot be told to cancel, and send no result of a job whose connection was lost.
After such a loss the worker may answer every later job with the output of another one, until its process is
restarted. Three rules follow, which ``attempts.py`` keeps with the help of this:

* A connection that is lost while a job is open gives the job back at once, and the worker is distrusted.
* A cancel, and the end of the run limit, end the prediction at once; the slot stays busy, and the worker is
  distrusted until it reports the job's end on the same connection.
* Distrust is a row, known again after a restart. A distrusted worker is not let in: a new process of it has
  another ``session_id``, and so is another worker.

One that hangs up in order without a word on its job has not begun it: it could not take it, for an input file
that cannot be fetched for example. It can be trusted; the job counts as one that crashes workers, so the
second to hang up on it is the last.
"""

from collections.abc import Sequence

from coordinator.book import Session
from coordinator.prediction import Attempt
from coordinator.protocol.messages import Held
from coordinator.workers import Trust, Workers

BACK_S = 5.0
"""How long after a load the connection of a worker of 2022 may take to be known again: when the process is a
new one, it is gone for good."""
CUT = "its connection was lost while a job was open"
HUNG_UP = "its worker hung up without a word on it"
_PENDING = "has not said that its last job is over"


def files_prefix(model: str) -> str:
    """What the keys of all files begin with that such workers upload for a model."""
    return f"models/{model}/files/"


def unreported(workers: Workers, attempt: Attempt, session: Session | None, prediction: str) -> None:
    """The prediction ended without the worker, which still works on it."""
    if refusal(workers, attempt.agent) is None:
        workers.distrust(attempt.agent, attempt.agent_name, f"it {_PENDING} ({prediction})")
    if session is not None:
        session.unreported = prediction


def taken_up(workers: Workers, session: Session, held: Sequence[Held]) -> None:
    """A connection that was there all the time has attached again, to a new instance of the coordinator."""
    if held and refusal(workers, session.agent) is not None:
        session.unreported = held[0].prediction


def reported(workers: Workers, session: Session, prediction: str) -> None:
    """The worker has said how its job ended: if that was all that was against it, it is trusted again."""
    if not session.unreported or session.unreported != prediction:
        return
    session.unreported = ""
    standing = workers.standing(session.agent)
    if standing is not None and _PENDING in standing.reason:
        workers.release(session.agent)


def refusal(workers: Workers, agent: str) -> str | None:
    """Why this worker is not let in."""
    standing = workers.standing(agent)
    distrusted = standing is not None and standing.trust is Trust.DISTRUSTED
    return standing.reason if standing is not None and distrusted else None
