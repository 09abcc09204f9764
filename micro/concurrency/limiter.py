"""A bound on what runs at once, and on what waits for its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["HEAVIEST", "OVERHEAD", "Limiter"]

T = TypeVar("T")

HEAVIEST = 32 << 20
"""Bytes that may wait at one limiter, give or take the last item: a bound beside their number."""


OVERHEAD = 512
"""Bytes, about, that a message takes beside its body."""


class Limiter(Generic[T]):
    """Lets at most `limit` items in at once; up to `queue` more wait in order of arrival.

    Args:
        limit: How many may be inside.
        queue: How many may wait.
        start: Called with an item that waited when its turn has come.
        weigh: The bytes that an item holds while it waits.
    """

    __slots__ = (
        "_limit",
        "_queue",
        "_start",
        "_starting",
        "_waiting",
        "_weigh",
        "_weight",
        "inside",
    )

    def __init__(
        self, limit: int, queue: int, start: Callable[[T], None], weigh: Callable[[T], int]
    ) -> None:
        self.inside = 0
        self._limit = limit
        self._queue = queue
        self._start = start
        self._weigh = weigh
        self._weight = 0
        self._starting = False
        self._waiting: deque[T] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, item: T) -> bool | None:
        """Let an item in: `True` if it is inside, `False` if it waits, `None` if it was refused."""
        if self.inside < self._limit and not self._waiting:
            self.inside += 1
            return True
        if len(self._waiting) >= self._queue or self._weight > HEAVIEST:
            return None
        self._weight += self._weigh(item)
        self._waiting.append(item)
        return False

    def leave(self) -> None:
        """One item is done; the next in line starts."""
        self.inside -= 1
        if self._waiting and not self._starting:
            self._fill()

    def _fill(self) -> None:
        # An item that is done as soon as it starts leaves from within `start`: it is this loop that
        # goes on, since a queue of such items would be too deep for recursion.
        self._starting = True
        try:
            while self._waiting and self.inside < self._limit:
                self.inside += 1
                item = self._waiting.popleft()
                self._weight -= self._weigh(item)
                self._start(item)
        finally:
            self._starting = False

    def withdraw(self, item: T) -> bool:
        """Take an item out of the queue; false when it does not wait."""
        try:
            self._waiting.remove(item)
        except ValueError:
            return False
        self._weight -= self._weigh(item)
        return True
