"""Prometheus' text format 0.0.4, written: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from itertools import accumulate

from coordinator.tally import Histogram

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Page:
    """Begin a metric with ``family``, then give all of its samples. ``labels`` are each sample's."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._name = ""

    def family(self, name: str, kind: str, meaning: str) -> None:
        """``kind`` is ``gauge``, ``counter`` (its name ends in ``_total``) or ``histogram``."""
        self._name = name
        meaning = meaning.replace("\\", r"\\").replace("\n", r"\n")
        self._lines += (f"# HELP {name} {meaning}", f"# TYPE {name} {kind}")

    def sample(self, value: float, **labels: str) -> None:
        self._sample("", labels, value)

    def histogram(self, histogram: Histogram, **labels: str) -> None:
        below = accumulate(histogram.counts)
        for bound in histogram.bounds:
            self._sample("_bucket", {**labels, "le": f"{bound:g}"}, next(below))
        self._sample("_bucket", {**labels, "le": "+Inf"}, histogram.count)
        self._sample("_sum", labels, histogram.total)
        self._sample("_count", labels, histogram.count)

    def text(self) -> bytes:
        return "\n".join((*self._lines, "")).encode()

    def _sample(self, suffix: str, labels: dict[str, str], value: float) -> None:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        self._lines.append(f"{self._name}{suffix}{f'{{{inside}}}' if inside else ''} {_number(value)}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value)).replace("inf", "Inf")
