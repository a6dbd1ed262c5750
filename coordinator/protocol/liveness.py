"""When to send a beat and when to give a peer up, the same for both ends. Times are monotonic seconds."""

from coordinator.protocol.errors import Silent

LATE_S = 1.0
"""A tick this late means that our own loop stood still, so the peer's silence says nothing about the peer."""


class Liveness:
    """The heartbeat of one connection: before the greeting only a deadline, afterwards beats both ways."""

    __slots__ = ("_beat_s", "_greeted", "_heard_at", "_next_beat_at", "_silence_s")

    def __init__(self, greeting_s: float, now: float) -> None:
        self._greeted = False
        self._silence_s = greeting_s
        self._beat_s = greeting_s
        self._heard_at = now
        self._next_beat_at = now + greeting_s

    def greeted(self, beat_s: float, silence_s: float, now: float) -> None:
        """The greeting is over: beat every ``beat_s`` and give up after ``silence_s`` without a frame."""
        self._greeted = True
        self._beat_s = beat_s
        self._silence_s = silence_s
        self._heard_at = now
        self._next_beat_at = now + beat_s

    def heard(self, now: float) -> None:
        """A frame of the peer came in. Before the greeting this buys it no time."""
        if self._greeted:
            self._heard_at = now

    def tick(self, now: float) -> bool:
        """True when a beat is to be sent now. Raises ``Silent`` when the peer is to be given up."""
        late = now - self.next_tick_at()
        if late > LATE_S:
            self._heard_at += late
        if now >= self._heard_at + self._silence_s:
            waited = "nothing heard" if self._greeted else "no greeting"
            raise Silent(f"{waited} for {self._silence_s:g} s")
        if not self._greeted or now < self._next_beat_at:
            return False
        self._next_beat_at = now + self._beat_s
        return True

    def next_tick_at(self) -> float:
        """When ``tick`` has to be called next."""
        silent_at = self._heard_at + self._silence_s
        return min(silent_at, self._next_beat_at) if self._greeted else silent_at
