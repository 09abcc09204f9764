"""Flow control of streams: a window for what is received, credit for what is sent.

Between native peers the receiver grants credit, in items and in bytes: the sender counts both down
and waits at zero, so a slow reader delays its own stream only. Peers of the first version count
items alone, and a go-micro peer knows no credit; a window that such a peer overflows ends its
stream with a typed error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from copy import copy

from micro.concurrency.budget import ByteBudget, process_budget
from micro.errors import MicroError, ResourceExhausted
from micro.wire.limits import WINDOW_BYTES

__all__ = ["WINDOW_ITEMS", "ReceiveWindow", "SendCredit"]

WINDOW_ITEMS = 256
"""Items that a window holds before the reader has received any of them."""

_COUNT_STEP_BYTES = 4096
"""A window tells its budget of changes this large: telling it of each item would slow all items.
A window may hold so much more than is counted, so a thousand of them 4 MiB."""


class _Waiters:
    """Tasks that wait for a change.

    Attributes:
        futures: What they wait for; empty when none waits.
    """

    __slots__ = ("futures",)

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        await future

    def wake(self) -> None:
        # Replaced first: a task that wakes may wait again, for the next change.
        futures, self.futures = self.futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)


class ReceiveWindow:
    """Bodies that arrived on a stream and wait to be received, in order.

    Args:
        grant: Called with the numbers of items and bytes that the peer may send in addition;
            `None` when the peer knows no credit.
        limit: Items that may wait; one more ends the stream.
        budget: The bytes that all streams of the peer may hold; what does not fit ends the stream.
    """

    __slots__ = (
        "_bodies",
        "_budget",
        "_counted",
        "_ended",
        "_error",
        "_grant",
        "_held",
        "_limit",
        "_on_capacity",
        "_received",
        "_received_bytes",
        "_waiters",
    )

    def __init__(
        self,
        grant: Callable[[int, int], None] | None,
        *,
        limit: int = WINDOW_ITEMS,
        budget: ByteBudget | None = None,
    ) -> None:
        self._bodies: deque[bytes] = deque()
        self._budget = budget or process_budget()
        self._counted = 0
        self._ended = False
        self._error: MicroError | None = None
        self._grant = grant
        self._held = 0
        self._limit = limit
        self._on_capacity: Callable[[], None] | None = None
        self._received = 0
        self._received_bytes = 0
        self._waiters = _Waiters()

    @property
    def ended(self) -> bool:
        """Whether no more items arrive, though some may wait."""
        return self._ended

    @property
    def has_capacity(self) -> bool:
        """Whether fewer bytes wait than the window has."""
        return self._held < WINDOW_BYTES

    def put(self, body: bytes) -> bool:
        """Add an item; returns false when the window overflowed, which ends the stream."""
        if self._ended:
            return True  # what was under way when the stream ended; no one receives it
        if len(self._bodies) >= self._limit:
            return self._overflow(f"{self._limit} items wait to be received")
        held = self._held + len(body)
        if held - self._counted >= _COUNT_STEP_BYTES:
            if not self._budget.acquire(held - self._counted):
                return self._overflow(f"{self._budget.held} bytes of this peer wait to be received")
            self._counted = held
        self._held = held
        self._bodies.append(body)
        if self._waiters.futures:
            self._waiters.wake()
        return True

    def end(self, error: MicroError | None = None) -> None:
        """Accept no more items: in good order, or because of `error`; only the first end counts.

        Items that arrived before can still be received.
        """
        if not self._ended:
            self._ended = True
            self._error = error
            if not self._bodies:
                self.discard()
            self._waiters.wake()

    def discard(self) -> None:
        """Drop the items that wait: they will not be received."""
        self._bodies.clear()
        self._budget.release(self._counted)
        self._held = self._counted = 0
        self._on_capacity = None

    def when_capacity(self, act: Callable[[], None]) -> None:
        """Call `act` once, as soon as the window has capacity again."""
        self._on_capacity = act

    async def receive(self) -> bytes | None:
        """Wait for the next item; returns `None` after the last one.

        Raises:
            MicroError: the stream ended because of it, and everything before it was received.
        """
        while not self._bodies:
            if self._ended:
                self.discard()
                if self._error is not None:
                    raise copy(self._error)
                return None
            await self._waiters.wait()
        body = self._bodies.popleft()
        self._release(len(body))
        return body

    def _release(self, size: int) -> None:
        self._held = held = self._held - size
        surplus = self._counted - held
        if surplus > 0 and (surplus >= _COUNT_STEP_BYTES or not held):
            self._budget.release(surplus)
            self._counted = held
        self._received += 1
        self._received_bytes += size
        half = self._received * 2 >= self._limit or self._received_bytes * 2 >= WINDOW_BYTES
        if half and self._grant is not None:
            self._grant(self._received, self._received_bytes)
            self._received = self._received_bytes = 0
        if self._on_capacity is not None and self.has_capacity:
            act, self._on_capacity = self._on_capacity, None
            act()

    def _overflow(self, detail: str) -> bool:
        self.end(ResourceExhausted(detail, id="micro.stream"))
        return False


class SendCredit:
    """How many items and bytes may be sent before the peer grants more.

    Args:
        items: What the peer granted at the start; `None` when it knows no credit.
        size: The bytes that it granted; `None` when it counts items alone.
    """

    __slots__ = ("_bytes", "_error", "_items", "_waiters")

    def __init__(self, items: int | None, size: int | None = None) -> None:
        self._items = items
        self._bytes = size
        self._error: MicroError | None = None
        self._waiters = _Waiters()

    def grant(self, items: int, size: int | None = None) -> None:
        """Add credit that the peer granted."""
        if self._items is not None:
            self._items += items
        if size is not None:
            self._bytes = size + (self._bytes or 0)
        self._waiters.wake()

    def fail(self, error: MicroError) -> None:
        """Fail all current and future `acquire()` calls with `error`."""
        self._error = error
        self._waiters.wake()

    def spend(self, size: int) -> None:
        """Take credit for the bytes of an item on the wire, after `acquire`.

        An item may be larger than the credit that is left: the next one waits for the difference.
        """
        if self._bytes is not None:
            self._bytes -= size

    async def acquire(self) -> None:
        """Take credit for one item; waits while there is none for it, or none for bytes.

        Raises:
            MicroError: the error given to `fail`.
        """
        while self._error is None and (
            self._items == 0 or (self._bytes is not None and self._bytes <= 0)
        ):
            await self._waiters.wait()
        if self._error is not None:
            raise copy(self._error)
        if self._items is not None:
            self._items -= 1
