"""What is under way in a test network, and the wait until nothing is."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["QUIET_TURNS", "SETTLE_SECONDS", "STEP_TURNS", "Activity", "settle"]

SETTLE_SECONDS = 10.0
"""How long a test waits by default for something to happen, in real time."""

QUIET_TURNS = 20
"""Turns of the event loop with nothing under way that count as settled: what was sent in one turn
arrives in the next, so work is never between two of its steps for longer than a few."""

STEP_TURNS = 8
"""The same between two times of a clock that is advanced: a day may have thousands of them."""

_EAGER_TURNS = 50
_POLL_SECONDS = 0.002


class Activity:
    """Counts what is under way, by what it is."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Count something as under way while the block lasts."""
        self._running[what] += 1
        try:
            yield
        finally:
            self._running[what] -= 1
            if not self._running[what]:
                del self._running[what]

    def describe(self) -> list[str]:
        """What is under way, a phrase each."""
        return [what if n == 1 else f"{what} ({n} times)" for what, n in self._running.items()]


async def settle(
    busy: Callable[[], list[str]], timeout: float, *, turns: int = QUIET_TURNS
) -> None:
    """Wait until nothing has been under way for some turns of the event loop.

    Args:
        busy: What is under way now, a phrase each.
        timeout: Seconds of real time.
        turns: Turns of the event loop with nothing under way that are enough.

    Raises:
        AssertionError: something still was; it is named.
    """
    end = time.monotonic() + timeout
    waited = quiet = 0
    while quiet < turns:
        left = busy()
        waited, quiet = (waited + 1, 0) if left else (0, quiet + 1)
        if left and time.monotonic() > end:
            raise AssertionError(f"not settled after {timeout:g} s: {'; '.join(left)}")
        # Threads and sleeping handlers tell no one when they end, so it looks again.
        await asyncio.sleep(_POLL_SECONDS if waited > _EAGER_TURNS else 0)
