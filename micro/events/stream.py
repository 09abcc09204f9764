"""The events of one topic as an async iterator, within bounds of number and bytes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Generic, Self, TypeVar

from micro.broker.contract import Delivery
from micro.codec import Codecs
from micro.concurrency.budget import process_budget
from micro.concurrency.limiter import MAX_WAITING_BYTES, MESSAGE_OVERHEAD_BYTES
from micro.concurrency.log_limit import LogLimit
from micro.context import Context
from micro.errors import MicroError, UsageError
from micro.events.content import guess_content_type, read_headers
from micro.telemetry.metrics import SubscriberCounters
from micro.wire.headers import ID

__all__ = ["MAX_WAITING_EVENTS", "EventStream"]

E = TypeVar("E")

MAX_WAITING_EVENTS = 1024
"""Events that wait for the reader of an `EventStream` by default."""

_log = logging.getLogger("micro.subscriber")


class EventStream(Generic[E]):
    """The events of a topic, in the order of arrival; `Client.subscribe` opens it.

    Events that arrive while the reader is busy wait, up to `max_queue` of them and as long as they
    hold no more than 32 MiB. The next one is dropped, counted and logged: neither the publisher
    nor the connection ever waits for a reader. An event that cannot be read as the type is left
    out, counted and logged.

    Args:
        topic: The topic or pattern.
        type_: What to read each event as.
        codecs: Reads events.
        max_queue: Events that may wait.
        counters: Where it counts.

    Attributes:
        topic: The topic or pattern.
        dropped: Events dropped because the reader was too slow.
        failed: Events left out because they could not be read.
        context: Topic, id and headers of the event that was read last; `None` before the first.

    Raises:
        UsageError: `max_queue` is not a whole number of at least 1.
        CodecError: no codec carries the type.
    """

    def __init__(
        self,
        topic: str,
        type_: Any,
        codecs: Codecs,
        max_queue: int = MAX_WAITING_EVENTS,
        *,
        counters: SubscriberCounters | None = None,
    ) -> None:
        if type(max_queue) is not int or max_queue < 1:
            raise UsageError(f"max_queue must be a whole number of at least 1, got {max_queue!r}")
        codecs.check(type_)
        self.topic = topic
        self.dropped: int = 0
        self.failed: int = 0
        self.context: Context | None = None
        self._type = type_
        self._codecs = codecs
        self._max_queue = max_queue
        self._counters = counters or SubscriberCounters()
        self._guess = guess_content_type(codecs, type_)
        self._waiting: deque[tuple[Delivery, int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._log_limit = LogLimit()

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery from the broker."""
        if self._closed:
            return
        weight = MESSAGE_OVERHEAD_BYTES + len(delivery.message.body)
        full = len(self._waiting) >= self._max_queue or self._bytes > MAX_WAITING_BYTES
        if full or not process_budget().acquire(weight):
            self._drop()
            return
        self._bytes += weight
        self._waiting.append((delivery, weight))
        self._changed.set()

    def close(self) -> None:
        """End the iteration; what still waits is let go."""
        self._closed = True
        process_budget().release(self._bytes)
        self._bytes = 0
        self._waiting.clear()
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        while True:
            delivery = await self._next()
            try:
                event: E = self._read(delivery)
            except MicroError as error:
                await self._fail(delivery, error)
                continue
            await delivery.ack()
            return event

    async def _next(self) -> Delivery:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        delivery, weight = self._waiting.popleft()
        self._bytes -= weight
        process_budget().release(weight)
        return delivery

    def _read(self, delivery: Delivery) -> Any:
        headers, content_type = read_headers(delivery.message, self._guess)
        event = self._codecs.decoder_for(content_type, self._type)(delivery.message.body)
        id = headers.get(ID, "")
        self.context = Context("", self.topic, headers, id=id, topic=delivery.topic)
        self._counters.handled += 1
        return event

    async def _fail(self, delivery: Delivery, error: MicroError) -> None:
        self.failed += 1
        self._counters.failed += 1
        if (more := self._log_limit.admit()) is not None:
            _log.error("an event of %s cannot be read: %s%s", delivery.topic, error.detail, more)
        await delivery.nack()

    def _drop(self) -> None:
        self.dropped += 1
        self._counters.dropped += 1
        if self._log_limit.admit() is not None:
            _log.warning(
                "the reader of %s is too slow: %d events dropped so far", self.topic, self.dropped
            )
