"""A bound on what runs at once, and on what waits for its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Gate"]

T = TypeVar("T")


class Gate(Generic[T]):
    """Lets at most `limit` items in at once; up to `queue` more wait in order of arrival.

    Args:
        limit: How many may be inside.
        queue: How many may wait.
        start: Called with an item that waited when its turn has come.
    """

    __slots__ = ("_limit", "_queue", "_start", "_starting", "_waiting", "inside")

    def __init__(self, limit: int, queue: int, start: Callable[[T], None]) -> None:
        self.inside = 0
        self._limit = limit
        self._queue = queue
        self._start = start
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
        if len(self._waiting) >= self._queue:
            return None
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
                self._start(self._waiting.popleft())
        finally:
            self._starting = False

    def withdraw(self, item: T) -> bool:
        """Take an item out of the queue; false when it does not wait."""
        try:
            self._waiting.remove(item)
        except ValueError:
            return False
        return True
