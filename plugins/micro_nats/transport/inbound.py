"""Delivers what arrived in batches, one a turn of the event loop.

What is delivered in one turn is answered in one turn, and leaves as one bundle. Large bundles are
cheap; but if all that a client waits for comes in one, it idles while the server works and the
other way round. So a receiver that waits for answers gets no more than half of them in one turn:
the next requests leave while the rest is still being answered, and both ends work at the same time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context

from micro.message import Message

__all__ = ["MAX_QUEUED", "MAX_QUEUED_BYTES", "MIN_BATCH", "Deliver", "InboundScheduler"]

MIN_BATCH = 16
"""The fewest messages that are delivered in one turn, if so many are there."""

_MAX_BATCH = 2 * MIN_BATCH
# Of many small bundles a quarter is delivered together.
_SHARE = 4

MAX_QUEUED = 256
"""Batches that may wait, for all sockets of a connection together."""

MAX_QUEUED_BYTES = 8 << 20
"""Bytes of bundles that may wait, for all sockets of a connection together."""

MAX_WAIT_SECONDS = 0.05
"""Under long turns a batch waits no longer than this and one turn more, whatever their budget is:
what decides about requests, and refuses them, must see them in time."""

Deliver = Callable[[Sequence[Message], float], None]
"""Receives a batch, and the seconds that it waited on its way if they are known."""


class _Batch:
    __slots__ = ("arrived", "deliver", "messages", "size")

    def __init__(
        self, deliver: Deliver, messages: Sequence[Message], size: int, arrived: float
    ) -> None:
        self.arrived = arrived
        self.deliver = deliver
        self.messages = messages
        self.size = size


class InboundScheduler:
    """One queue for all sockets of a connection, so that what came first is delivered first.

    It is bounded in items and bytes: what comes faster than turns can deliver it is delivered as it
    comes, which slows the reading down to the pace of the work.
    """

    __slots__ = ("_backlog", "_budget", "_bytes", "_context", "_due", "_loop", "_queue")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._queue: deque[_Batch] = deque()
        self._backlog = 0
        self._bytes = 0
        self._budget = MIN_BATCH
        self._due = False

    def push(
        self,
        deliver: Deliver,
        messages: Sequence[Message],
        size: int,
        awaited: int = 0,
        delay: float = 0.0,
    ) -> None:
        """Deliver messages: now as far as this turn's budget goes, the rest on the next turns.

        Args:
            deliver: Receives them.
            messages: A bundle.
            size: Bytes of the bundle, with the headers of its messages.
            awaited: How many messages are waited for, these among them; 0 if it is not known.
            delay: Seconds that they waited on their way.
        """
        if delay:
            self._push_late(deliver, messages, delay)
            return
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn, context=self._context)
        if not self._queue and len(messages) <= self._budget:
            self._budget -= len(messages)
            deliver(messages, 0.0)
            return
        self._backlog += len(messages)
        count = max(MIN_BATCH, awaited // 2) if awaited else len(messages)
        # Each batch counts as its share; a last one that is smaller counts for a little more.
        share = size * min(count, len(messages)) // len(messages)
        now = self._loop.time()
        for start in range(0, len(messages), count):
            self._bytes += share
            self._queue.append(_Batch(deliver, messages[start : start + count], share, now))
        while len(self._queue) > MAX_QUEUED or self._bytes > MAX_QUEUED_BYTES:
            self._deliver_next()

    def after(self, act: Callable[[], None]) -> None:
        """Call `act` when all that arrived before has been delivered."""
        if self._queue:
            now = self._loop.time()
            self._queue.append(_Batch(lambda messages, delay: act(), (), 0, now))  # noqa: ARG005
        else:
            act()

    async def settle(self) -> None:
        """Wait until all that has arrived so far has been delivered."""
        if self._queue:
            reached: asyncio.Future[None] = self._loop.create_future()
            self.after(lambda: None if reached.done() else reached.set_result(None))
            await reached

    def _push_late(self, deliver: Deliver, messages: Sequence[Message], delay: float) -> None:
        """Deliver at once what a stop held up.

        A request and its cancellation often arrive together then; the receiver must see both before
        the request's handler starts on the next turn.
        """
        while self._queue:
            self._deliver_next()
        deliver(messages, delay)

    def _turn(self) -> None:
        self._budget = budget = max(MIN_BATCH, min(_MAX_BATCH, self._backlog // _SHARE))
        while self._queue and self._budget > 0:
            self._budget -= self._deliver_next()
        if self._queue:
            self._deliver_overdue()
        self._due = bool(self._queue) or self._budget < budget
        if self._due:
            self._loop.call_soon(self._turn, context=self._context)

    def _deliver_overdue(self) -> None:
        due = self._loop.time() - MAX_WAIT_SECONDS
        while self._queue and self._queue[0].arrived < due:
            self._deliver_next()

    def _deliver_next(self) -> int:
        """Deliver what came first; returns how many messages that was."""
        item = self._queue.popleft()
        self._backlog -= len(item.messages)
        self._bytes -= item.size
        item.deliver(item.messages, self._loop.time() - item.arrived)
        return len(item.messages)
