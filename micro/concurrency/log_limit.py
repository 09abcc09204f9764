"""A bound on log lines about one repeated condition."""

from __future__ import annotations

import time

__all__ = ["LogLimit"]

_INTERVAL_SECONDS = 1.0


class LogLimit:
    """Lets a few lines pass each second and counts the others.

    Args:
        burst: Lines that pass in one second.
    """

    __slots__ = ("_burst", "_held", "_left", "_since")

    def __init__(self, burst: int = 1) -> None:
        self._burst = burst
        self._held = 0
        self._left = burst
        self._since = time.monotonic()

    def admit(self) -> str | None:
        """Ask to write one line.

        Returns:
            `None` when the line must not be written; else what to append to it: nothing, or how
            many lines were left out since the last one.
        """
        now = time.monotonic()
        if now - self._since >= _INTERVAL_SECONDS:
            self._since = now
            self._left = self._burst
        if not self._left:
            self._held += 1
            return None
        self._left -= 1
        held, self._held = self._held, 0
        return f" ({held} more since the last line)" if held else ""
