"""The half of a client that publishes events and subscribes to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, overload

from micro.broker.contract import Broker
from micro.codec import Codecs
from micro.events.publisher import Publisher
from micro.events.stream import MAX_WAITING_EVENTS, EventStream
from micro.telemetry.metrics import Metrics
from micro.topic import Topic, name_of, type_of

__all__ = ["EventClient"]

E = TypeVar("E")

_COUNTED_AS = "client.subscribe"
"""All subscriptions of clients count as one subscriber: their topics may be without number."""


class EventClient:
    """Publishes events and subscribes to them.

    Args:
        broker: Takes and delivers them.
        codecs: Reads and writes them.
        publisher: Publishes them.
        metrics: Where it counts.
    """

    def __init__(
        self, broker: Broker, codecs: Codecs, publisher: Publisher, metrics: Metrics
    ) -> None:
        self.broker = broker
        self._codecs = codecs
        self._publisher = publisher
        self._metrics = metrics

    @overload
    async def publish(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: dict[str, str] | None = ...,
        content_type: str | None = ...,
        confirm: bool = ...,
    ) -> None: ...

    @overload
    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        headers: dict[str, str] | None = ...,
        content_type: str | None = ...,
        confirm: bool = ...,
    ) -> None: ...

    async def publish(
        self,
        topic: str | Topic[Any],
        event: Any,
        *,
        headers: dict[str, str] | None = None,
        content_type: str | None = None,
        confirm: bool = False,
    ) -> None:
        """Publish an event.

        Returns when the event is on its way. Delivery is at most once: a subscriber that is away
        misses it, and so may all when the connection breaks; `flush` tells that the server has
        received all that was published before.

        Args:
            topic: Where: a `Topic`, whose type the event must have, or a name without wildcards.
            event: A value that the codec can write.
            headers: Headers of the application's own.
            content_type: How to write it.
            confirm: Wait until the broker says that someone is subscribed, for one round trip.

        Raises:
            CodecError: the event is not of the topic's type, or cannot be written.
            InvalidName: the topic cannot be used.
            ConnectionLost: there was no connection within the broker's bound.
            NoSubscribers: with `confirm`, no one is subscribed to the topic.
            Unimplemented: with `confirm`, the broker cannot tell.
        """
        await self._publisher.publish(topic, event, headers, content_type, confirm=confirm)

    async def flush(self) -> None:
        """Wait until the broker has taken all that was published before."""
        await self.broker.flush()

    @overload
    def subscribe(
        self, topic: Topic[E], *, queue: str | None = ..., max_queue: int = ...
    ) -> AbstractAsyncContextManager[EventStream[E]]: ...

    @overload
    def subscribe(
        self, topic: str, type: type[E], *, queue: str | None = ..., max_queue: int = ...
    ) -> AbstractAsyncContextManager[EventStream[E]]: ...

    @overload
    def subscribe(
        self, topic: str, type: Any = ..., *, queue: str | None = ..., max_queue: int = ...
    ) -> AbstractAsyncContextManager[EventStream[Any]]: ...

    @asynccontextmanager
    async def subscribe(
        self,
        topic: str | Topic[Any],
        type: Any = None,
        *,
        queue: str | None = None,
        max_queue: int = MAX_WAITING_EVENTS,
    ) -> AsyncIterator[EventStream[Any]]:
        """Read the events of a topic inside a block; leaving it ends the subscription.

            async with client.subscribe(created) as events:
                async for event in events:
                    ...

        In the block the subscription stands: what is published from then on arrives. The events
        come in the order of arrival, and without end; `asyncio.timeout` bounds the wait.

        Args:
            topic: A `Topic`, a name, or a pattern with `*` and `>`.
            type: What to read each event as; the topic's type when not given.
            queue: The group of which one member gets each event; `None` for every subscription.
            max_queue: Events that may wait for the reader; the next is dropped, counted in
                `EventStream.dropped` and in the metrics, and logged.

        Raises:
            UsageError: `max_queue` makes no sense.
            CodecError: no codec carries the type.
            InvalidName: the topic or the queue cannot be used.
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """
        name = name_of(topic)
        events = EventStream[Any](
            name,
            type_of(topic) if type is None else type,
            self._codecs,
            max_queue,
            counters=self._metrics.subscriber(_COUNTED_AS),
        )
        async with await self.broker.subscribe(name, events.deliver, queue=queue):
            try:
                yield events
            finally:
                events.close()
