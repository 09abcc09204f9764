"""Many timeouts on one timer.

A call nearly always ends before its deadline. Creating and cancelling an event-loop timer for each
call would be the largest cost of a small call. Here deadlines are sorted into slots of 10 ms: one
loop timer waits for the earliest slot, and a call that ends is discarded from the set of its slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

__all__ = ["Timers"]

T = TypeVar("T")
_TICK = 0.01


class Timers(Generic[T]):
    """Calls `expire` with each item whose time has come, at most about 10 ms late, never early.

    Args:
        expire: Called on the event loop; must not raise.
    """

    __slots__ = ("_expire", "_handle", "_loop", "_order", "_slots")

    def __init__(self, expire: Callable[[T], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._slots: dict[int, set[T]] = {}
        self._order: list[int] = []
        self._handle: asyncio.TimerHandle | None = None

    def add(self, at: float, item: T) -> set[T]:
        """Add an item that expires at `at` on the monotonic clock.

        Returns:
            The slot it is in: `discard` the item from it when it no longer matters.
        """
        # Rounded up: an item must not expire early.
        number = int(at / _TICK) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            heappush(self._order, number)
            if self._order[0] == number:
                self._arm()
        slot.add(item)
        return slot

    def close(self) -> None:
        """Forget every item; none of them expires any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._slots.clear()
        self._order.clear()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        delay = self._order[0] * _TICK - time.monotonic()
        self._handle = self._loop.call_later(max(0.0, delay), self._tick)

    def _tick(self) -> None:
        self._handle = None
        now = time.monotonic() / _TICK
        while self._order and self._order[0] <= now:
            slot = self._slots.pop(heappop(self._order))
            # One that expires may discard others of its slot, so the set is not iterated.
            while slot:
                self._expire(slot.pop())
        if self._order:
            self._arm()
