"""The two halves of a stream, each bounded: what flows in, and what may flow out.

Between native peers the receiving half grants credit: the sender counts it down and waits at
zero, so a slow reader holds up its own stream and nothing else. A go-micro peer knows no credit;
towards it a half that overflows ends the stream with a typed error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from micro.errors import MicroError, ResourceExhausted

__all__ = ["WINDOW", "Inflow", "Outflow"]

WINDOW = 256
"""How many items a reader takes in before it has read any of them."""


class Inflow:
    """Bodies that came in and wait to be read, in order.

    Args:
        grant: Called with a number of items when the reader has made room for so many more;
            `None` when the peer knows no credit.
        limit: The most items that wait; the one over it ends the stream.
    """

    __slots__ = ("_bodies", "_ended", "_error", "_grant", "_limit", "_read", "_waiter")

    def __init__(self, grant: Callable[[int], None] | None, *, limit: int = WINDOW) -> None:
        self._bodies: deque[bytes] = deque()
        self._ended = False
        self._error: MicroError | None = None
        self._grant = grant
        self._limit = limit
        self._read = 0
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, body: bytes) -> bool:
        """Take an item in; false when that overflowed and so ended the stream."""
        if self._ended:
            return True
        if len(self._bodies) >= self._limit:
            self.end(ResourceExhausted(f"{self._limit} items wait to be read", id="micro.stream"))
            return False
        self._bodies.append(body)
        self._wake()
        return True

    def end(self, error: MicroError | None = None) -> None:
        """No more will come: in good order, or because of `error`; only the first end counts.

        What came before can still be read.
        """
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    @property
    def ended(self) -> bool:
        """Whether no more will come, though some may wait."""
        return self._ended

    async def read(self) -> bytes | None:
        """The next item, or `None` after the last one.

        Raises:
            MicroError: the stream ended because of it, and everything before it was read.
        """
        while not self._bodies:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._read += 1
        if self._grant is not None and self._read * 2 >= self._limit:
            self._grant(self._read)
            self._read = 0
        return self._bodies.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Outflow:
    """How many items may be sent before the peer has made room.

    Args:
        credit: What the peer granted at the start; `None` when it knows no credit.
    """

    __slots__ = ("_credit", "_error", "_waiter")

    def __init__(self, credit: int | None) -> None:
        self._credit = credit
        self._error: MicroError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def add(self, items: int) -> None:
        """The peer made room for so many more."""
        if self._credit is not None:
            self._credit += items
            self._wake()

    def fail(self, error: MicroError) -> None:
        """The peer will take no more; whoever waits or comes learns why."""
        self._error = error
        self._wake()

    async def take(self) -> None:
        """Use one item's room, waiting for it.

        Raises:
            MicroError: what `fail` was told.
        """
        while self._credit == 0 and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        if self._credit is not None:
            self._credit -= 1

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
