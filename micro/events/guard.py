"""Whether a durable fails on everything, as a bad release does: then it pauses."""

from __future__ import annotations

from collections import deque

__all__ = ["PROBE_SECONDS", "ReleaseGuard"]

IN_A_ROW = 10
"""Dead letters in a row that pause a durable."""
WINDOW = 50
"""Events of which half may be dead letters."""
PROBE_SECONDS = 30.0
"""While a durable pauses it gets one event in so many seconds; its success ends the pause."""


class ReleaseGuard:
    """Counts the ends of events: handled, or given up.

    Without it a bad release would move a whole topic to the dead letters within minutes.

    Attributes:
        paused: Why the durable pauses; empty while it does not.
    """

    def __init__(self) -> None:
        self.paused: str = ""
        self._in_a_row = 0
        self._last: deque[bool] = deque(maxlen=WINDOW)

    def handled(self) -> bool:
        """An event was handled; returns whether that ends a pause."""
        self._in_a_row = 0
        self._last.append(False)
        ended, self.paused = bool(self.paused), ""
        if ended:
            self._last.clear()
        return ended

    def gave_up(self, error: str) -> bool:
        """An event became a dead letter; returns whether a pause begins.

        Args:
            error: The last error, for the text.
        """
        self._in_a_row += 1
        self._last.append(True)
        dead = sum(self._last)
        if self.paused:
            return False
        if self._in_a_row >= IN_A_ROW:
            self.paused = f"{self._in_a_row} events in a row became dead letters"
        elif len(self._last) == WINDOW and dead * 2 >= WINDOW:
            self.paused = f"{dead} of the last {WINDOW} events became dead letters"
        if self.paused:
            self.paused += f", the last one because of: {error}"
        return bool(self.paused)

    def broken(self, error: str) -> bool:
        """A fatal error of the release came; returns whether a pause begins."""
        if self.paused:
            return False
        self.paused = f"its release is broken: {error}"
        return True
