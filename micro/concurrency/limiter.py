"""A bound on what runs at once, and on what waits for its turn."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar

from micro.concurrency.budget import process_budget
from micro.concurrency.pace import Pace

__all__ = ["MAX_WAITING_BYTES", "MESSAGE_OVERHEAD_BYTES", "Admission", "Limiter"]

T = TypeVar("T")

MAX_WAITING_BYTES = 32 << 20
"""Bytes that may wait at one limiter; the item that passes the bound is the last one queued."""

MESSAGE_OVERHEAD_BYTES = 512
"""Bytes, about, that a message takes beside its body."""


class Admission(Enum):
    """What became of an item that asked to run."""

    RUN = "run"
    """It holds a slot: start it now and call `release` when it is done."""
    QUEUED = "queued"
    """It waits; the limiter starts it when its turn has come."""
    REFUSED = "refused"
    """There is neither a slot nor a place in the queue for it."""


# A member of an enumeration costs ten times as much to look up in Python 3.11.
_RUN, _QUEUED, _REFUSED = Admission.RUN, Admission.QUEUED, Admission.REFUSED


class Limiter(Generic[T]):
    """Lets at most `limit` items run at once; up to `queue` more wait in order of arrival.

    Args:
        limit: How many may run.
        queue: How many may wait.
        start: Called with an item that waited when its turn has come; it holds a slot then.
        weigh: The bytes that an item holds while it waits; the process's budget counts them.

    Attributes:
        inside: How many hold a slot.
        limit: How many may run; call `resume` after it was raised.
    """

    __slots__ = (
        "_pace",
        "_paced",
        "_queue",
        "_start",
        "_started_at",
        "_starting",
        "_waiting",
        "_weigh",
        "_weight",
        "inside",
        "limit",
    )

    def __init__(
        self, limit: int, queue: int, start: Callable[[T], None], weigh: Callable[[T], int]
    ) -> None:
        self.inside: int = 0
        self.limit: int = limit
        self._queue = queue
        self._start = start
        self._weigh = weigh
        self._weight = 0
        self._starting = False
        self._waiting: OrderedDict[int, tuple[T, int]] = OrderedDict()
        self._pace = Pace(min_starts=16, min_seconds=0.1)
        # Whether any item has bounded its wait: only then it matters how fast the queue moves.
        self._paced = False
        self._started_at = 0.0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def admit(self, item: T, patience: float = math.inf) -> Admission:
        """Give an item a slot or a place in the queue.

        Args:
            item: The item.
            patience: Seconds that it may wait; it is refused when the queue surely takes longer.
                The pace of the queue is measured once an item has bounded its wait.
        """
        if self.inside < self.limit and not self._waiting:
            self.inside += 1
            return _RUN
        return self._enqueue(item, patience)

    def release(self) -> None:
        """One item is done: give back its slot; the next in line starts."""
        self.inside -= 1
        if self._waiting and not self._starting:
            self._fill()

    def resume(self) -> None:
        """Start what waits as far as the bound goes."""
        if self._waiting and not self._starting:
            self._fill()

    def withdraw(self, item: T) -> bool:
        """Take an item out of the queue; false when it does not wait."""
        found = self._waiting.pop(id(item), None)
        if found is None:
            return False
        self._forget_weight(found[1])
        return True

    def clear(self) -> None:
        """Drop all that waits, and give its bytes back."""
        for _, weight in self._waiting.values():
            self._forget_weight(weight)
        self._waiting.clear()

    def _enqueue(self, item: T, patience: float) -> Admission:
        waiting = len(self._waiting)
        if waiting >= self._queue or self._weight > MAX_WAITING_BYTES:
            return _REFUSED
        if not waiting:
            self._started_at = now = time.monotonic()
            self._pace.begin(now)
        if patience < math.inf:
            self._paced = True
            if self._pace.wait(waiting) > patience:
                return _REFUSED
        weight = self._weigh(item)
        if not process_budget().acquire(weight):
            return _REFUSED
        self._weight += weight
        self._waiting[id(item)] = (item, weight)
        return _QUEUED

    def _fill(self) -> None:
        # An item that is done as soon as it starts is released from within `start`: this loop goes
        # on then, since a queue of such items would be too deep for recursion.
        self._starting = True
        try:
            while self._waiting and self.inside < self.limit:
                self.inside += 1
                _, (item, weight) = self._waiting.popitem(last=False)
                self._forget_weight(weight)
                if self._paced:
                    self._measure()
                self._start(item)
        finally:
            self._starting = False

    def _measure(self) -> None:
        """Note the time between two starts while others wait: how fast the queue moves."""
        now = time.monotonic()
        self._pace.note(now, now - self._started_at, 1)
        self._started_at = now

    def _forget_weight(self, weight: int) -> None:
        self._weight -= weight
        process_budget().release(weight)
