"""How late the event loop is: what arrived while it stood still has waited for as long."""

from __future__ import annotations

import asyncio
import time

__all__ = ["LoopLag"]

_BEAT = 0.5


class LoopLag:
    """Tells for how long a request that is read now may have waited to be read.

    A deadline crosses the wire as the time that remains, so time that passes before it is read
    does not count by itself. It does after the process stood still: blocked, frozen or swapped out.
    """

    __slots__ = ("_due", "_last")

    def __init__(self) -> None:
        self._due = time.monotonic() + _BEAT
        self._last = 0.0

    async def beat(self) -> None:
        """Measure, for ever."""
        while True:
            self._due = time.monotonic() + _BEAT
            await asyncio.sleep(_BEAT)
            # Kept until the next beat: what had piled up may take more than one turn to be read.
            self._last = time.monotonic() - self._due

    def seconds(self) -> float:
        """Seconds, at most; 0 while the loop has turned at least twice a second."""
        lag = time.monotonic() - self._due
        if lag < self._last:
            lag = self._last
        return lag if lag > _BEAT else 0.0
