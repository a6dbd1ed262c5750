"""Several owners of an object's one alarm: it comes when the first of them wants it. Pure."""

from coordinator.actor.turn import Turn


class Alarms:
    """What each owner wants; ``flush`` at the end of a turn sets the alarm."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._changed = False

    def set(self, owner: str, at: int | None) -> None:
        """Microseconds since the epoch; None when the owner needs none."""
        if at is None:
            self._at.pop(owner, None)
        else:
            self._at[owner] = at
        self._changed = True

    def rang(self, owner: str, now: int) -> bool:
        """When the alarm is due: whether it was this owner's. It is gone then."""
        self._changed = True
        if self._at.get(owner, now + 1) > now:
            return False
        del self._at[owner]
        return True

    def flush(self, turn: Turn) -> None:
        if self._changed:
            self._changed = False
            turn.alarm_at(min(self._at.values(), default=None))
