"""Clocks: real time, and a virtual time that a test moves forward by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "RealClock", "TimerHandle", "VirtualClock"]


class TimerHandle(Protocol):
    """A call that was planned."""

    def cancel(self) -> None:
        """Do not call it; a second call does nothing."""


class Clock(ABC):
    """Tells the time and calls functions later, on the event loop."""

    @abstractmethod
    def time(self) -> float:
        """Seconds since 1970, UTC."""

    @abstractmethod
    def call_later(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Call a function after so many seconds."""

    def now(self) -> datetime:
        """The time in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        woken = asyncio.Event()
        handle = self.call_later(seconds, woken.set)
        try:
            await woken.wait()
        finally:
            handle.cancel()


class RealClock(Clock):
    """The system's clock and the event loop's timers."""

    def time(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    def call_later(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Call a function after so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, call)


class VirtualClock(Clock):
    """A clock that stands still until `advance` moves it.

    Args:
        start: Where it begins, in seconds since 1970.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._time = start
        self._order = itertools.count()
        self._planned: list[tuple[float, int, _Planned]] = []
        # Calls run in this context, not in that of the code that planned them.
        self._context = copy_context()

    def time(self) -> float:
        """Seconds since 1970, UTC."""
        return self._time

    def call_later(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Call a function when the clock has been moved by so many seconds."""
        planned = _Planned(call)
        heapq.heappush(self._planned, (self._time + max(0.0, seconds), next(self._order), planned))
        if seconds <= 0:
            asyncio.get_running_loop().call_soon(self._run_due, context=self._context)
        return planned

    @property
    def next_at(self) -> float | None:
        """When the next planned call is due; `None` when there is none."""
        while self._planned and self._planned[0][2].call is None:
            heapq.heappop(self._planned)
        return self._planned[0][0] if self._planned else None

    async def advance(self, seconds: float, *, turns: int = 50) -> None:
        """Move the clock, and make the calls that come due, in order of their times.

        Args:
            seconds: How far.
            turns: Turns of the event loop between two due times, in which what they woke can run.
        """
        end = self._time + seconds
        await _turn(turns)
        while (due := self.next_at) is not None and due <= end:
            self._time = max(self._time, due)
            self._run_due()
            await _turn(turns)
        self._time = end

    def _run_due(self) -> None:
        while (due := self.next_at) is not None and due <= self._time:
            planned = heapq.heappop(self._planned)[2]
            call, planned.call = planned.call, None
            if call is not None:
                self._context.copy().run(call)


class _Planned:
    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


async def _turn(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
