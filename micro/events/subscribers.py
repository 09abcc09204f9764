"""Subscribers: a handler for each event, within bounds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from micro.broker.contract import Broker, Deliver, Delivery, Subscription
from micro.codec import Codecs
from micro.concurrency.limiter import MESSAGE_OVERHEAD_BYTES, Admission, Limiter
from micro.concurrency.threads import Threads
from micro.context import Context, ambient_context
from micro.errors import MicroError
from micro.handlers.endpoint import SubscriberSpec
from micro.message import Message
from micro.middleware import Layer, Next, Request, Response, fold
from micro.names import topic_matches
from micro.scope import open_scope
from micro.telemetry.metrics import Metrics, SubscriberCounters
from micro.wire.headers import CONTENT_TYPE, ID, canonical

__all__ = ["SubscriberOptions", "Subscribers"]

_log = logging.getLogger("micro.subscriber")
_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberOptions:
    """Bounds and layers of a service's subscribers.

    Attributes:
        max_concurrency: How many events of one subscriber are handled at once. Handlers start in
            the order the events came; 1 also ends one before the next starts.
        max_queue: How many more may wait, for each subscriber, as long as they hold no more than
            32 MiB; the next is dropped and counted.
        threads: How many plain `def` handlers may run at once.
        middleware: Layers round every handler, the first outermost.
    """

    max_concurrency: int = 256
    max_queue: int = 65_536
    threads: int = 32
    middleware: Sequence[Layer] = ()


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
        self._subscribers: list[_Subscriber] = []
        self._subscriptions: list[Subscription] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._scope = await self._stack.enter_async_context(open_scope())
        self._threads = Threads(self._options.threads, f"{self._service}-subscriber")
        self._stack.callback(self._threads.close)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._scope.cancel()
        await self._stack.aclose()

    async def subscribe(self, specs: Iterable[SubscriberSpec]) -> None:
        """Subscribe; on return their events arrive.

        Raises:
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """
        for spec in specs:
            counters = self._metrics.subscriber(spec.name)
            self._subscribers.append(_Subscriber(self, spec, counters))
        for each in self._subscribers:
            subscription = await self._broker.subscribe(
                each.spec.topic, self._target(each), queue=each.spec.queue
            )
            await self._stack.enter_async_context(subscription)
            self._subscriptions.append(subscription)

    def _target(self, subscriber: _Subscriber) -> Deliver:
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
        """Take no more events, and wait until those that came are handled.

        Returns:
            The names of subscribers that were not done after `grace` seconds.
        """
        end = time.monotonic() + grace
        try:
            async with asyncio.timeout(grace):
                for subscription in self._subscriptions:
                    await subscription.drain()
        except (TimeoutError, MicroError) as error:
            _log.warning("the broker did not drain: %s", error or "it took too long")
        while any(each.busy for each in self._subscribers):
            if not await self._scope.settle(max(0.0, end - time.monotonic())):
                return sorted({each.spec.name for each in self._subscribers if each.busy})
        return await self._threads.settle(max(0.0, end - time.monotonic()))


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


class _Unreadable(Exception):
    """The event's bytes are not of the subscriber's type."""


class _Subscriber:
    """One subscriber: from delivery to handler."""

    def __init__(
        self, owner: Subscribers, spec: SubscriberSpec, counters: SubscriberCounters
    ) -> None:
        options = owner._options
        self.spec = spec
        self._scope = owner._scope
        self._service = owner._service
        self._codecs = owner._codecs
        self._threads = owner._threads
        self._counters = counters
        self._warned = 0.0
        most, queue = options.max_concurrency, options.max_queue
        self._limiter = Limiter[Delivery](most, queue, self._launch, _weight_of)
        self._chain: Next | None = None
        if options.middleware:
            self._chain = fold(options.middleware, self._innermost)

    @property
    def busy(self) -> bool:
        """Whether an event is being handled or waits."""
        return bool(self._limiter.inside or self._limiter.waiting)

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery from the broker."""
        admission = self._limiter.admit(delivery)
        if admission is Admission.RUN:
            self._launch(delivery)
        elif admission is Admission.REFUSED:
            self._drop()

    def _launch(self, delivery: Delivery) -> None:
        self._scope.spawn(self._run(delivery))

    async def _run(self, delivery: Delivery) -> None:
        task = asyncio.current_task()
        assert task is not None, "it runs in a task of the scope"
        self._counters.handled += 1
        try:
            await self._handle(delivery)
            await delivery.ack()
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            # Nobody asked for it: the handler awaited something that was cancelled.
            await self._fail(delivery)
        except _Unreadable as error:
            # The sender's fault, whoever that is: a traceback would say nothing of it.
            await self._fail(delivery, str(error))
        except Exception:
            # The boundary of a handler: an event that fails is told to the broker and the log.
            await self._fail(delivery)
        finally:
            self._scope.release(task)
            self._limiter.release()

    async def _fail(self, delivery: Delivery, reason: str = "") -> None:
        self._counters.failed += 1
        if reason:
            name, topic = self.spec.name, delivery.topic
            _log.error("%s failed on an event of %s: it cannot be read: %s", name, topic, reason)
        else:
            _log.exception("%s failed on an event of %s", self.spec.name, delivery.topic)
        try:
            await delivery.nack()
        except Exception as error:
            # A broker that is gone must not take the subscriber with it.
            _log.warning("an event of %s could not be given back: %s", delivery.topic, error)

    async def _handle(self, delivery: Delivery) -> None:
        headers, body = delivery.message
        topic = delivery.topic
        spec = self.spec
        event: Any = None
        content_type = headers.get(CONTENT_TYPE)
        if content_type is None or ID not in headers:
            headers = canonical(headers)
            content_type = headers.get(CONTENT_TYPE, _JSON)
        if spec.takes_event:
            try:
                event = self._codecs.decoder_for(content_type, spec.event_type)(body)
            except MicroError as error:
                raise _Unreadable(error.detail) from error
        context = Context(self._service, spec.name, headers, id=headers.get(ID, ""), topic=topic)
        ambient_context.set(context)
        if self._chain is not None:
            await self._chain(Request("subscriber", self._service, topic, headers, event, None))
        elif spec.blocking:
            await self._in_thread(event, context)
        else:
            await spec.bind(event, context)

    async def _innermost(self, request: Request) -> Response:
        context = Context.current()
        context.headers = request.headers
        if self.spec.blocking:
            await self._in_thread(request.value, context)
        else:
            await self.spec.bind(request.value, context)
        return Response(None, {})

    async def _in_thread(self, event: Any, context: Context) -> None:
        await self._threads.run(self.spec.name, self.spec.bind, event, context)

    def _drop(self) -> None:
        self._counters.dropped += 1
        now = time.monotonic()
        if now - self._warned >= 1.0:
            self._warned = now
            _log.warning(
                "%s is too slow: %d events dropped so far", self.spec.name, self._counters.dropped
            )


def _overlap(one: str, other: str) -> bool:
    """Whether some topic matches both patterns."""
    tokens, others = one.split("."), other.split(".")
    for token, another in zip(tokens, others, strict=False):
        if ">" in (token, another):
            return True
        if token != another and "*" not in (token, another):
            return False
    return len(tokens) == len(others)


def _weight_of(delivery: Delivery) -> int:
    return MESSAGE_OVERHEAD_BYTES + len(delivery.message.body)
