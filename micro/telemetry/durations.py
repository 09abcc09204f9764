"""How long things take: histograms with fixed bounds, without locks, all on the event loop."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

__all__ = ["BOUNDS_SECONDS", "Durations", "Histogram"]

BOUNDS_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip
"""The upper bounds of the buckets; one more bucket takes what is longer."""


class Histogram:
    """Counts of durations by bucket.

    Attributes:
        counts: How many fell into each bucket; the last one has no upper bound.
        seconds: The sum of all durations.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDS_SECONDS) + 1)
        self.seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.seconds += seconds


class Durations:
    """Histograms of one operation, one for each way in which it ended.

    The ways are the error codes of this framework's own errors and a few others. An application may
    invent codes without end; past a bound they are counted together.

    Attributes:
        last_error: The text of the last failure; empty when there was none.
    """

    __slots__ = ("_failed", "_succeeded", "last_error")

    def __init__(self) -> None:
        self.last_error: str = ""
        self._succeeded = Histogram()
        self._failed: dict[int, Histogram] = {}

    def observe(self, seconds: float, code: int) -> None:
        """Count one that ended now.

        Args:
            seconds: How long it took.
            code: The error's code; 0 for success.
        """
        if not code:
            histogram = self._succeeded
            histogram.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
            histogram.seconds += seconds
        else:
            self._failure(code).observe(seconds)

    def __iter__(self) -> Iterator[tuple[str, Histogram]]:
        """Each histogram with its error; empty text for success."""
        yield "", self._succeeded
        for code, histogram in self._failed.items():
            yield str(code) if code != _OTHER_CODE else "_OTHER", histogram

    def _failure(self, code: int) -> Histogram:
        known = self._failed.get(code)
        if known is None:
            if len(self._failed) >= _MAX_CODES:
                code = _OTHER_CODE
            known = self._failed.setdefault(code, Histogram())
        return known


_MAX_CODES = 32
_OTHER_CODE = -1
