"""How fast a queue moves, so that what joins it can be told how long it would wait."""

from __future__ import annotations

__all__ = ["Pace"]

_WINDOW_SECONDS = 1.0


class Pace:
    """The pace of the last starts from a queue, over about a second.

    Args:
        min_starts: Fewer are no evidence: one slow start, or a moment without the processor, would
            count as a rule.
        min_seconds: Less time is no evidence.
    """

    __slots__ = ("_min_seconds", "_min_starts", "_noted_at", "_seconds", "_starts")

    def __init__(self, *, min_starts: int, min_seconds: float) -> None:
        self._min_starts = min_starts
        self._min_seconds = min_seconds
        self._noted_at = 0.0
        self._seconds = 0.0
        self._starts = 0.0

    def begin(self, now: float) -> None:
        """A queue forms: how fast an earlier one was is no evidence, unless it was just now."""
        if now - self._noted_at > _WINDOW_SECONDS:
            self._seconds = self._starts = 0.0

    def note(self, now: float, seconds: float, starts: int) -> None:
        """So many items were started in so many seconds, while others waited."""
        self._noted_at = now
        self._seconds += seconds
        self._starts += starts
        if self._seconds > 2 * _WINDOW_SECONDS and self._starts > 2 * self._min_starts:
            self._seconds /= 2
            self._starts /= 2

    def wait(self, ahead: int) -> float:
        """Seconds until so many items are started; 0 while there is no evidence."""
        if self._starts < self._min_starts or self._seconds < self._min_seconds:
            return 0.0
        return ahead * self._seconds / self._starts
