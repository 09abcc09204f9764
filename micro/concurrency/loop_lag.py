"""How late the event loop is: what arrived while it stood still has waited for as long."""

from __future__ import annotations

import asyncio
import time

__all__ = ["LoopLag"]

_INTERVAL_SECONDS = 0.5

_CAUGHT_UP_SECONDS = 0.02
"""A timer that is this punctual shows that the loop has read what had piled up."""


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
            lag = await self._sleep(_INTERVAL_SECONDS)
            if lag > _INTERVAL_SECONDS:
                await self._catch_up(lag)

    async def _catch_up(self, lag: float) -> None:
        """Keep a lag while the loop still reads what piled up, for one interval at most.

        Kept for longer, it would refuse fresh requests whose deadlines are shorter than the lag.
        """
        self._last = lag
        try:
            end = time.monotonic() + _INTERVAL_SECONDS
            while await self._sleep(_CAUGHT_UP_SECONDS) > _CAUGHT_UP_SECONDS:
                if time.monotonic() > end:
                    break
        finally:
            self._last = 0.0

    async def _sleep(self, seconds: float) -> float:
        """Sleep; the seconds that the loop woke late."""
        self._due = time.monotonic() + seconds
        await asyncio.sleep(seconds)
        return time.monotonic() - self._due

    def seconds(self, now: float) -> float:
        """Seconds, at most; 0 while the loop has turned at least twice a second.

        Args:
            now: The monotonic clock's time.
        """
        lag = now - self._due
        if lag < self._last:
            lag = self._last
        return lag if lag > _INTERVAL_SECONDS else 0.0
