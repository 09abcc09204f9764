"""Doing a thing once for all callers that want it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["Once"]


class Once:
    """Something that the first caller does, for the callers that wait as well.

    Args:
        work: What to do; a failure is raised to the first, and the next one tries again.
    """

    def __init__(self, work: Callable[[], Awaitable[object]]) -> None:
        self._work = work
        self._lock = asyncio.Lock()
        self._done = False

    async def __call__(self) -> None:
        """Do it unless it was done; on return it is."""
        if self._done:
            return
        async with self._lock:
            if not self._done:
                await self._work()
                self._done = True

    def undo(self) -> None:
        """Have it done again when it is next asked for."""
        self._done = False
