"""How late the event loop is: what arrived while it stood still has waited for as long."""

from __future__ import annotations

import asyncio
import time

__all__ = ["LoopLag"]

_INTERVAL_SECONDS = 0.5


class LoopLag:
    """Tells for how long a request that is read now may have waited to be read.

    A deadline crosses the wire as the time that remains, so time that passes before it is read
    does not count by itself. It does after the process stood still: blocked, frozen or swapped out.
    """

    __slots__ = ("_due", "_last")

    def __init__(self) -> None:
        self._due = time.monotonic() + _INTERVAL_SECONDS
        self._last = 0.0

    async def measure(self) -> None:
        """Measure until cancelled."""
        while True:
            self._due = time.monotonic() + _INTERVAL_SECONDS
            await asyncio.sleep(_INTERVAL_SECONDS)
            # Kept for an interval: what has piled up may take more than one turn to be read.
            self._last = time.monotonic() - self._due

    def seconds(self) -> float:
        """Seconds, at most; 0 while the loop has turned at least twice a second."""
        lag = time.monotonic() - self._due
        if lag < self._last:
            lag = self._last
        return lag if lag > _INTERVAL_SECONDS else 0.0
