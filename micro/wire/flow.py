"""Flow control of streams: a window for what is received, credit for what is sent.

Between native peers the receiver grants credit: the sender counts it down and waits at zero, so
a slow reader delays its own stream only. A go-micro peer knows no credit; a window that such a
peer overflows ends its stream with a typed error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from micro.errors import MicroError, ResourceExhausted

__all__ = ["WINDOW_ITEMS", "ReceiveWindow", "SendCredit"]

WINDOW_ITEMS = 256
"""Items that a window holds before the reader has received any of them."""


class ReceiveWindow:
    """Bodies that arrived on a stream and wait to be received, in order.

    Args:
        grant: Called with the number of items that the peer may send in addition; `None` when
            the peer knows no credit.
        limit: Items that may wait; one more ends the stream.
    """

    __slots__ = ("_bodies", "_ended", "_error", "_grant", "_limit", "_received", "_waiter")

    def __init__(self, grant: Callable[[int], None] | None, *, limit: int = WINDOW_ITEMS) -> None:
        self._bodies: deque[bytes] = deque()
        self._ended = False
        self._error: MicroError | None = None
        self._grant = grant
        self._limit = limit
        self._received = 0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, body: bytes) -> bool:
        """Add an item; returns false when the window overflowed, which ends the stream."""
        if self._ended:
            return True
        if len(self._bodies) >= self._limit:
            self.end(
                ResourceExhausted(f"{self._limit} items wait to be received", id="micro.stream")
            )
            return False
        self._bodies.append(body)
        self._wake()
        return True

    def end(self, error: MicroError | None = None) -> None:
        """Accept no more items: in good order, or because of `error`; only the first end counts.

        Items that arrived before can still be received.
        """
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    @property
    def ended(self) -> bool:
        """Whether no more items arrive, though some may wait."""
        return self._ended

    async def receive(self) -> bytes | None:
        """Wait for the next item; returns `None` after the last one.

        Raises:
            MicroError: the stream ended because of it, and everything before it was received.
        """
        while not self._bodies:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._received += 1
        if self._grant is not None and self._received * 2 >= self._limit:
            self._grant(self._received)
            self._received = 0
        return self._bodies.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class SendCredit:
    """How many items may be sent before the peer grants more.

    Args:
        credit: What the peer granted at the start; `None` when it knows no credit.
    """

    __slots__ = ("_credit", "_error", "_waiter")

    def __init__(self, credit: int | None) -> None:
        self._credit = credit
        self._error: MicroError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def grant(self, items: int) -> None:
        """Add credit that the peer granted."""
        if self._credit is not None:
            self._credit += items
            self._wake()

    def fail(self, error: MicroError) -> None:
        """Fail all current and future `acquire()` calls with `error`."""
        self._error = error
        self._wake()

    async def acquire(self) -> None:
        """Take credit for one item; waits while there is none.

        Raises:
            MicroError: the error given to `fail`.
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
