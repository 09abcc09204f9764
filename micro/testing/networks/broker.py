"""A part's events in a test network: published with faults, and lost when the part is killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from functools import partial

from micro.broker.contract import Deliver, Subscription
from micro.broker.kept import Consumption, DeliverKept, KeptBroker, KeptDelivery
from micro.broker.kept_types import Durable, Features, Receipt, Start, Stored, TopicSpec, TopicState
from micro.concurrency.clock import Clock
from micro.errors import DeadlineExceeded
from micro.message import Message
from micro.testing.networks.cut import Cut
from micro.testing.networks.wires import Wires

__all__ = ["LineBroker"]


class LineBroker(KeptBroker):
    """The broker as one part of a network sees it.

    Args:
        wires: The network.
        cut: Whether the part was killed.

    Attributes:
        subscriptions: What the part has subscribed to.
    """

    def __init__(self, wires: Wires, cut: Cut) -> None:
        self._wires = wires
        self._cut = cut
        self._inner = wires.memory.broker
        self.subscriptions: list[Subscription] = []

    @property
    def features(self) -> Features:
        """Those of the in-memory broker."""
        return self._inner.features

    @property
    def clock(self) -> Clock:
        """The network's clock."""
        return self._wires.clock

    async def publish(self, topic: str, message: Message) -> None:
        """Publish, unless a fault says otherwise; see `Broker.publish`."""
        if not self._is_lost(topic, message):
            await self._inner.publish(topic, message)

    async def publish_confirmed(self, topic: str, message: Message) -> None:
        """Publish, unless a fault says otherwise; see `Broker.publish_confirmed`."""
        if not self._is_lost(topic, message):
            await self._inner.publish_confirmed(topic, message)

    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> Subscription:
        """Subscribe; see `Broker.subscribe`."""
        self._cut.check()
        subscription = await self._inner.subscribe(topic, deliver, queue=queue)
        self.subscriptions.append(subscription)
        return subscription

    async def flush(self) -> None:
        """Return at once; see `Broker.flush`."""
        self._cut.check()
        await self._inner.flush()

    async def ensure(self, spec: TopicSpec, *, create: bool) -> TopicState:
        """Create a kept topic or compare it; see `KeptBroker.ensure`."""
        self._cut.check()
        return await self._inner.ensure(spec, create=create)

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
        """Store an event, unless a fault says otherwise; see `KeptBroker.store`."""
        self._cut.check()
        delay, lost = (0.0, False) if to else self._wires.faults.hit_publishing(topic)
        if lost:
            raise DeadlineExceeded(f"a fault dropped event {id!r}, so it was perhaps not stored")
        if delay:
            at = max(at or self.clock.now(), self.clock.now() + timedelta(seconds=delay))
        receipt = await self._inner.store(topic, message, id=id, partition=partition, at=at, to=to)
        if not to and not receipt.duplicate:
            self._wires.publish(topic, message)
        return receipt

    async def consume(self, topic: str, deliver: DeliverKept, durable: Durable) -> Consumption:
        """Read a durable; see `KeptBroker.consume`."""
        self._cut.check()

        def guarded(delivery: KeptDelivery) -> None:
            deliver(_LineDelivery(delivery, self._cut))

        consumption = await self._inner.consume(topic, guarded, durable)
        self.subscriptions.append(consumption)
        return consumption

    def read(
        self, topic: str, *, start: Start, end: datetime | int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Stored]]:
        """Read stored events; see `KeptBroker.read`."""
        self._cut.check()
        return self._inner.read(topic, start=start, end=end)

    async def describe(self, topic: str) -> TopicState:
        """A kept topic as it is now; see `KeptBroker.describe`."""
        self._cut.check()
        return await self._inner.describe(topic)

    async def forget(self, topic: str, durable: str) -> None:
        """Remove a position; see `KeptBroker.forget`."""
        self._cut.check()
        await self._inner.forget(topic, durable)

    async def remove(self, topic: str, sequence: int) -> None:
        """Remove one event; see `KeptBroker.remove`."""
        self._cut.check()
        await self._inner.remove(topic, sequence)

    async def change(self, spec: TopicSpec) -> TopicState:
        """Keep a topic in another way; see `KeptBroker.change`."""
        self._cut.check()
        return await self._inner.change(spec)

    async def pause(self, topic: str, durable: str, until: datetime | None) -> None:
        """Hold a position, or let it go on; see `KeptBroker.pause`."""
        self._cut.check()
        await self._inner.pause(topic, durable, until)

    async def reset(self, topic: str, durable: str, start: Start) -> None:
        """Move a position; see `KeptBroker.reset`."""
        self._cut.check()
        await self._inner.reset(topic, durable, start)

    def _is_lost(self, topic: str, message: Message) -> bool:
        """Whether an event goes no further now: it is lost, or it follows later."""
        self._cut.check()
        wires = self._wires
        delay, lost = wires.faults.hit_publishing(topic)
        wires.publish(topic, message)
        if delay and not lost:
            wires.clock.call_later(delay, partial(self._publish_later, topic, message))
        return lost or delay > 0

    def _publish_later(self, topic: str, message: Message) -> None:
        self._wires.scope.start(self._inner.publish(topic, message))


class _LineDelivery(KeptDelivery):
    """A delivery that a killed part cannot settle any more."""

    __slots__ = ("_cut", "_delivery")

    def __init__(self, delivery: KeptDelivery, cut: Cut) -> None:
        self._delivery = delivery
        self._cut = cut

    @property
    def topic(self) -> str:
        return self._delivery.topic

    @property
    def message(self) -> Message:
        return self._delivery.message

    @property
    def stored(self) -> Stored:
        return self._delivery.stored

    @property
    def deliveries(self) -> int | None:
        return self._delivery.deliveries

    async def ack(self, *, confirmed: bool = False) -> None:
        self._cut.check()
        await self._delivery.ack(confirmed=confirmed)

    async def nack(self, delay: float = 0.0) -> None:
        self._cut.check()
        await self._delivery.nack(delay)

    def extend(self) -> None:
        if not self._cut.happened:
            self._delivery.extend()
