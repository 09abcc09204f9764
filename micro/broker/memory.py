"""The in-memory broker: the reference for others, and what tests run on.

A message is routed when it is published, so a later subscription does not see it, and is pushed on
a later turn of the event loop, as with a server in between. Kept topics are in `memory_kept/`.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from datetime import datetime

from micro.broker.contract import Deliver, PlainDelivery, Subscription
from micro.broker.kept import Consumption, DeliverKept, KeptBroker
from micro.broker.kept_types import (
    Durable,
    Features,
    Receipt,
    Start,
    Stored,
    TopicSpec,
    TopicState,
)
from micro.broker.memory_kept import FEATURES, KeptTopics, NewEvent
from micro.concurrency.clock import Clock, RealClock
from micro.errors import ConnectionLost, NoSubscribers, PayloadTooLarge
from micro.message import Message, new_message
from micro.names import check_pattern, check_queue, check_topic, topic_matches

__all__ = ["MemoryBroker"]


class MemoryBroker(KeptBroker):
    """One network in this process: its publishers reach its subscriptions, and no others.

    It loses nothing: a publisher that finds `max_pending` messages undelivered waits for a turn of
    the loop, which delivers them. Kept topics are held in this process and end with it.

    Args:
        max_payload: The most bytes of one message, headers and body together.
        max_pending: How many messages may wait to be delivered to one subscription.
        max_stored_bytes: The most bytes of all kept topics together.
        clock: The time of kept topics: ages, delays, redelivery. Real time when not given.
    """

    def __init__(
        self,
        *,
        max_payload: int = 1024 * 1024,
        max_pending: int = 65_536,
        max_stored_bytes: int = 256 * 1024 * 1024,
        clock: Clock | None = None,
    ) -> None:
        self.max_payload = max_payload
        self.max_pending = max_pending
        self._clock = RealClock() if clock is None else clock
        # Deliveries run in this context, not in the publisher's.
        self._context = copy_context()
        self._kept = KeptTopics(
            self._clock,
            max_stored_bytes=max_stored_bytes,
            context=self._context,
            route=self._push,
        )
        self._plain: dict[str, dict[_Subscription, None]] = {}
        self._wild: dict[_Subscription, None] = {}
        self._closed = False

    async def publish(self, topic: str, message: Message) -> None:
        """Route a message to its subscriptions; see `Broker.publish`."""
        check_topic(topic)
        size = self._check(message)
        if self._kept.keeps(topic):
            self._kept.keep(topic, message, size)
        if self._push(topic, message):
            await asyncio.sleep(0)  # one turn delivers all that waits

    async def publish_confirmed(self, topic: str, message: Message) -> None:
        """Route a message if it has a subscription; see `Broker.publish_confirmed`."""
        check_topic(topic)
        self._check_open()
        if not self._kept.keeps(topic) and not any(True for _ in self._matching(topic)):
            raise NoSubscribers(f"no one is subscribed to {topic!r}")
        await self.publish(topic, message)

    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> Subscription:
        """Subscribe; see `Broker.subscribe`."""
        check_pattern(topic)
        if queue is not None:
            check_queue(queue)
        self._check_open()
        subscription = _Subscription(self, topic, deliver, queue)
        self._home(topic)[subscription] = None
        return subscription

    async def flush(self) -> None:
        """Return at once: what was published has been routed."""
        self._check_open()

    @property
    def features(self) -> Features:
        """Everything; what is stored ends with the process."""
        return FEATURES

    @property
    def clock(self) -> Clock:
        """The clock that was given, or real time; see `KeptBroker.clock`."""
        return self._clock

    async def ensure(self, spec: TopicSpec, *, create: bool) -> TopicState:
        """Create a kept topic or compare it; see `KeptBroker.ensure`."""
        self._check_open()
        return self._kept.ensure(spec, create=create)

    async def store(
        self,
        topic: str,
        message: Message,
        *,
        id: str,
        partition: int | None = None,
        at: datetime | None = None,
        to: str = "",
    ) -> Receipt:
        """Store an event; see `KeptBroker.store`."""
        size = self._check(message)
        return self._kept.store(
            topic,
            NewEvent(message=message, size=size, id=id, partition=partition, at=at, to=to),
        )

    async def consume(self, topic: str, deliver: DeliverKept, durable: Durable) -> Consumption:
        """Read a durable; see `KeptBroker.consume`."""
        self._check_open()
        return self._kept.get(topic).consume(durable, deliver)

    @asynccontextmanager
    async def read(
        self, topic: str, *, start: Start, end: datetime | int | None = None
    ) -> AsyncIterator[AsyncIterator[Stored]]:
        """Read stored events; see `KeptBroker.read`."""
        self._check_open()
        with self._kept.get(topic).read(start, end) as reader:
            yield reader

    async def describe(self, topic: str) -> TopicState:
        """A kept topic as it is now; see `KeptBroker.describe`."""
        self._check_open()
        return self._kept.get(topic).state()

    async def forget(self, topic: str, durable: str) -> None:
        """Remove a position; see `KeptBroker.forget`."""
        self._check_open()
        self._kept.get(topic).forget(durable)

    async def remove(self, topic: str, sequence: int) -> None:
        """Remove one event; see `KeptBroker.remove`."""
        self._check_open()
        self._kept.get(topic).remove(sequence)

    async def change(self, spec: TopicSpec) -> TopicState:
        """Keep a topic in another way; see `KeptBroker.change`."""
        self._check_open()
        topic = self._kept.get(spec.name)
        topic.change(spec)
        return topic.state()

    async def pause(self, topic: str, durable: str, until: datetime | None) -> None:
        """Pause or resume a durable; see `KeptBroker.pause`."""
        self._check_open()
        self._kept.get(topic).pause(durable, until)

    async def reset(self, topic: str, durable: str, start: Start) -> None:
        """Move a position; see `KeptBroker.reset`."""
        self._check_open()
        self._kept.get(topic).reset(durable, start)

    def close(self) -> None:
        """End every subscription, as when a server is gone permanently."""
        self._closed = True
        self._kept.close()
        for subscription in (*self._wild, *(s for home in self._plain.values() for s in home)):
            subscription.stop()

    def _check(self, message: Message) -> int:
        """The size of a message that can be sent."""
        self._check_open()
        size = len(message.body)
        for name, value in message.headers.items():
            size += len(name) + len(value)
        if size > self.max_payload:
            raise PayloadTooLarge(f"a message of {size} bytes; the limit is {self.max_payload}")
        return size

    def _push(self, topic: str, message: Message) -> bool:
        """Route a message; returns whether its publisher must wait."""
        targets = self._route(topic)
        full = False
        for target in targets:
            target.push(topic, message)
            full = full or target.is_full
        return full

    def _route(self, topic: str) -> list[_Subscription]:
        targets: list[_Subscription] = []
        queues: dict[str, list[_Subscription]] = {}
        for subscription in self._matching(topic):
            if subscription.queue is None:
                targets.append(subscription)
            else:
                queues.setdefault(subscription.queue, []).append(subscription)
        targets.extend(random.choice(members) for members in queues.values())
        return targets

    def _matching(self, topic: str) -> Iterator[_Subscription]:
        yield from self._plain.get(topic, ())
        for subscription in self._wild:
            if topic_matches(subscription.pattern, topic):
                yield subscription

    def _home(self, pattern: str) -> dict[_Subscription, None]:
        tokens = pattern.split(".")
        if "*" in tokens or ">" in tokens:
            return self._wild
        return self._plain.setdefault(pattern, {})

    def _leave(self, subscription: _Subscription) -> None:
        home = self._home(subscription.pattern)
        home.pop(subscription, None)
        if not home:
            self._plain.pop(subscription.pattern, None)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost("the in-memory network was closed", refused=True)


class _Subscription(Subscription):
    __slots__ = ("_broker", "_deliver", "_pending", "pattern", "queue")

    def __init__(
        self, broker: MemoryBroker, pattern: str, deliver: Deliver, queue: str | None
    ) -> None:
        self._broker = broker
        self._deliver = deliver
        self._pending: deque[PlainDelivery] = deque()
        self.pattern = pattern
        self.queue = queue

    @property
    def is_full(self) -> bool:
        """Whether a publisher must wait."""
        return len(self._pending) >= self._broker.max_pending

    def push(self, topic: str, message: Message) -> None:
        """Deliver on a later turn of the loop."""
        if not self._pending:
            self._soon_flush()
        # Each subscription gets its own headers, as it would over a network.
        self._pending.append(
            PlainDelivery(topic, new_message((dict(message.headers), message.body)))
        )

    def stop(self) -> None:
        """Leave the broker and drop what waits."""
        self._broker._leave(self)
        self._pending.clear()

    async def drain(self) -> None:
        self._broker._leave(self)
        self._flush()

    async def aclose(self) -> None:
        self.stop()

    def _flush(self) -> None:
        pending = self._pending
        try:
            # Events that a delivery publishes wait for the next turn, so that others can run.
            for _ in range(len(pending)):
                if not pending:
                    return
                self._deliver(pending.popleft())
        finally:
            if pending:
                self._soon_flush()

    def _soon_flush(self) -> None:
        asyncio.get_running_loop().call_soon(self._flush, context=self._broker._context)
