"""What a run of the runner's benchmark found, and how it is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from report import machine, met

AIM_ROUND_TRIP_MS = 0.2
AIM_READY_MS = 60.0
AIM_RSS_MB = 20.0
BEGIN, END = "<!-- runner's figures: made by make bench-runner -->", "<!-- end of the runner's figures -->"


@dataclass(frozen=True)
class Times:
    """Of one thing measured again and again."""

    count: int
    p50_us: float
    p99_us: float

    @classmethod
    def of(cls, times_us: Sequence[float]) -> "Times":
        ordered = sorted(times_us)
        return cls(len(ordered), ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100])


@dataclass(frozen=True)
class Figures:
    """Everything that one run found."""

    floor: tuple[Times, ...]
    """Before, between and after the round trips: which processors the two get differs from run to run."""
    interpreter: Times
    ready: Times
    round_trip: Times
    anybody: Times
    many_per_s: float
    slots: int
    items: dict[int, Times]
    files: dict[int, tuple[Times, Times]]
    """By size in bytes: through a model that copies the file, and the copy alone."""
    rss_at_first_bytes: int
    rss_after_bytes: int
    filesystem: str

    @property
    def floor_us(self) -> float:
        return median(times.p50_us for times in self.floor)

    def markdown(self) -> str:
        """The section of docs/benchmarks.md."""
        trip_ms, ready_ms = self.round_trip.p50_us / 1000, self.ready.p50_us / 1000
        rss_mb = self.rss_after_bytes / 1e6
        lines = [
            f"**p50 {trip_ms:.3f} ms** a prediction, request to result through our own parent"
            f" (aim {AIM_ROUND_TRIP_MS:g}: {met(trip_ms <= AIM_ROUND_TRIP_MS)}),"
            f" {self.round_trip.p50_us / self.floor_us:.1f} times the floor."
            f" **{ready_ms:.0f} ms** from start to ready"
            f" (aim {AIM_READY_MS:g}: {met(ready_ms <= AIM_READY_MS)})."
            f" **{rss_mb:.1f} MB** of memory (aim {AIM_RSS_MB:g}: {met(rss_mb <= AIM_RSS_MB)}).",
            "",
            "| | p50 ms | p99 ms | times | beside it |",
            "|---|--:|--:|--:|---|",
            *(_line("floor: a file and a signal each way", times) for times in self.floor),
            _line("a prediction, our own parent", self.round_trip, self._of_floor(self.round_trip)),
            _line(
                "a prediction, a minimal parent, cumulative form", self.anybody, self._of_floor(self.anybody)
            ),
            _line("start to ready", self.ready, f"python -c pass: {_ms(self.interpreter.p50_us)} ms"),
            *(
                _line(f"{count:,} yields", times, f"{times.p50_us / count:.1f} µs each")
                for count, times in self.items.items()
            ),
            *(
                _line(f"{_size(size)} in and out", times, f"the model's copy alone: {_ms(copy.p50_us)} ms")
                for size, (times, copy) in self.files.items()
            ),
            "",
            f"{self.many_per_s:,.0f} predictions/s with {self.slots} slots of an async predict, all in use."
            f" Memory (RSS) of the model's process: {self.rss_at_first_bytes / 1e6:.1f} MB after setup,"
            f" {rss_mb:.1f} MB after the predictions.",
            "",
            *machine(self.filesystem, "both processes", ("cogflare", "msgspec")),
            "- repeat with `make bench-runner`",
        ]
        return "\n".join(lines)

    def _of_floor(self, times: Times) -> str:
        return f"{times.p50_us / self.floor_us:.1f} times the floor"


def _line(name: str, times: Times, beside: str = "") -> str:
    # The 99th of a hundred is not to be had from fewer.
    p99 = _ms(times.p99_us) if times.count >= 100 else ""
    return f"| {name} | {_ms(times.p50_us)} | {p99} | {times.count:,} | {beside} |"


def _ms(us: float) -> str:
    return f"{us / 1000:,.{3 if us < 1000 else 2 if us < 10_000 else 0}f}"


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size % (1 << 20) == 0 else f"{size // 1_000_000} MB"
