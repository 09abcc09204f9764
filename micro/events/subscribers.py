"""All subscribers of one service: subscribing, sharing a queue group's events, and draining."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any, Self

from micro.broker.contract import Broker, Deliver, Delivery, Subscription
from micro.codec import Codecs
from micro.concurrency.threads import Threads
from micro.concurrency.timers import Timers
from micro.errors import MicroError
from micro.events.durables import Durables
from micro.events.subscriber import Host, Subscriber, SubscriberOptions
from micro.handlers.subscriber import SubscriberSpec
from micro.message import Message
from micro.names import topic_matches
from micro.scope import open_scope
from micro.telemetry.metrics import Metrics

__all__ = ["SubscriberOptions", "Subscribers"]

_log = logging.getLogger("micro.subscriber")

# A broker answers a drain within a round trip; one that does not answer must not use up the grace.
BROKER_DRAIN_SECONDS = 3.0


class Subscribers:
    """All subscribers of one service. Use it inside `async with`.

    Args:
        service: The service's name.
        broker: Where events come from.
        codecs: Reads them.
        options: Bounds and layers.
        metrics: Where each subscriber counts; its own when not given.
    """

    def __init__(
        self,
        service: str,
        broker: Broker,
        codecs: Codecs,
        options: SubscriberOptions | None = None,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._service = service
        self._broker = broker
        self._codecs = codecs
        self._options = options or SubscriberOptions()
        self._subscribers: list[Subscriber] = []
        self._subscriptions: list[Subscription] = []
        self._durables = Durables(
            broker, self._options.kept, self._metrics, instance=self._options.instance
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._scope = await self._stack.enter_async_context(open_scope())
        self._threads = Threads(self._options.threads, f"{self._service}-subscriber")
        self._stack.callback(self._threads.close)
        timers = Timers[asyncio.Task[Any]](_expire)
        self._stack.callback(timers.close)
        self._host = Host(
            service=self._service,
            codecs=self._codecs,
            scope=self._scope,
            threads=self._threads,
            timers=timers,
            options=self._options,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        # First, or each handler that is cancelled would let the next event start.
        for each in self._subscribers:
            each.discard_waiting()
        self._scope.cancel()
        await self._stack.aclose()

    async def subscribe(
        self, specs: Iterable[SubscriberSpec], *, has_other_work: bool = True
    ) -> None:
        """Subscribe; on return their events arrive.

        Args:
            specs: The subscribers.
            has_other_work: Start without durables where the broker stores no events now; when
                false, that is an error.

        Raises:
            TransportError: the broker stores no events, and there is no other work.
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """
        specs = tuple(specs)
        for spec in specs:
            if spec.durable is not None:
                continue
            counters = self._metrics.subscriber(spec.name)
            self._subscribers.append(Subscriber(spec, self._host, counters))
        for each in self._subscribers:
            subscription = await self._broker.subscribe(
                each.spec.topic, self._target(each), queue=each.spec.queue
            )
            await self._stack.enter_async_context(subscription)
            self._subscriptions.append(subscription)
        if durable := [spec for spec in specs if spec.durable is not None]:
            alone = not (has_other_work or self._subscribers)
            await self._durables.open(durable, self._host, self._stack, alone=alone)

    def check(self) -> None:
        """Return if all durables are read and none is paused.

        Raises:
            Unavailable: one is not.
        """
        self._durables.check()

    @property
    def unfinished(self) -> dict[str, int]:
        """Events that are being handled or wait, by the name of the subscriber that has some."""
        everyone = (*self._subscribers, *self._durables)
        return {each.spec.name: each.unfinished for each in everyone if each.busy}

    def kill(self) -> None:
        """Cancel everything that runs, as the end of the process does; for tests."""
        self._scope.cancel()

    def _target(self, subscriber: Subscriber) -> Deliver:
        """Where the deliveries of one subscription go.

        A queue's event comes to this process once, by any of its subscriptions that match. The
        other subscribers of the queue here whose topics match get it, too: otherwise two functions
        of one service would take each other's events away.
        """
        spec = subscriber.spec
        group = [
            each
            for each in self._subscribers
            if spec.queue == each.spec.queue and _overlap(spec.topic, each.spec.topic)
        ]
        if spec.queue is None or len(group) == 1:
            return subscriber.deliver

        def share(delivery: Delivery) -> None:
            taking = [each for each in group if topic_matches(each.spec.topic, delivery.topic)]
            shared = _Shared(delivery, len(taking))
            for each in taking:
                each.deliver(shared)

        return share

    async def drain(self, grace: float) -> list[str]:
        """Stop the intake of all topics at once, and wait until the events that came are handled.

        It may run at the same time as the drain of the server.

        Returns:
            The names of subscribers that were not done after `grace` seconds.
        """
        end = time.monotonic() + grace
        await self._stop_intake(grace)
        while any(each.busy for each in (*self._subscribers, *self._durables)):
            if not await self._scope.settle(max(0.0, end - time.monotonic())):
                return self._unfinished()
        return await self._threads.settle(max(0.0, end - time.monotonic()))

    async def _stop_intake(self, grace: float) -> None:
        """Drain every subscription side by side: until then the broker goes on sending events."""
        async with open_scope() as scope:
            work = [scope.start(_drain(each)) for each in self._subscriptions]
            work.append(scope.start(self._durables.drain()))
            timeout = min(grace, BROKER_DRAIN_SECONDS)
            _, slow = await asyncio.wait(work, timeout=timeout)
            if slow:
                _log.warning("the broker did not drain %d topics within %gs", len(slow), timeout)

    def _unfinished(self) -> list[str]:
        busy = [each for each in (*self._subscribers, *self._durables) if each.busy]
        for each in busy:
            _log.error("%s leaves %d events unhandled", each.spec.name, each.unfinished)
        return sorted({each.spec.name for each in busy})


class _Shared(Delivery):
    """A delivery to several subscribers: acknowledged once, when all have handled it."""

    __slots__ = ("_delivery", "_failed", "_left")

    def __init__(self, delivery: Delivery, takers: int) -> None:
        self._delivery = delivery
        self._failed = False
        self._left = takers

    @property
    def topic(self) -> str:
        return self._delivery.topic

    @property
    def message(self) -> Message:
        return self._delivery.message

    async def ack(self) -> None:
        self._left -= 1
        if not self._left:
            await (self._delivery.nack() if self._failed else self._delivery.ack())

    async def nack(self) -> None:
        self._failed = True
        await self.ack()


async def _drain(subscription: Subscription) -> None:
    try:
        await subscription.drain()
    except MicroError as error:
        _log.warning("the broker did not drain a topic: %s", error)


def _expire(task: asyncio.Task[Any]) -> None:
    task.cancel()


def _overlap(one: str, other: str) -> bool:
    """Whether some topic matches both patterns."""
    tokens, others = one.split("."), other.split(".")
    for token, another in zip(tokens, others, strict=False):
        if ">" in (token, another):
            return True
        if token != another and "*" not in (token, another):
            return False
    return len(tokens) == len(others)
