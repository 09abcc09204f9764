"""The half of a client that publishes events and subscribes to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, overload

from micro.broker.contract import Broker
from micro.broker.kept_types import Receipt
from micro.codec import Codecs
from micro.concurrency.units import read_duration
from micro.errors import UsageError
from micro.events.kept_publisher import Publication
from micro.events.publisher import Publisher
from micro.events.stream import MAX_WAITING_EVENTS, EventStream
from micro.events.window import (
    DEFAULT_WINDOW,
    WINDOW_TIMEOUT_SECONDS,
    TopicPublisher,
    open_window,
)
from micro.telemetry.metrics import Metrics
from micro.topic import Topic, name_of, type_of

__all__ = ["EventClient"]

E = TypeVar("E")
_NOTHING_GIVEN = (None, None, None, None)

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
    def publish(
        self,
        topic: Topic[E],
        event: E,
        *,
        id: str | None = ...,
        headers: dict[str, str] | None = ...,
        content_type: str | None = ...,
        confirm: bool = ...,
        timeout: float | str | timedelta | None = ...,
        delay: float | str | timedelta | None = ...,
        at: datetime | None = ...,
    ) -> Coroutine[Any, Any, Receipt]: ...

    @overload
    def publish(
        self,
        topic: str,
        event: Any,
        *,
        id: str | None = ...,
        headers: dict[str, str] | None = ...,
        content_type: str | None = ...,
        confirm: bool = ...,
        timeout: float | str | timedelta | None = ...,
        delay: float | str | timedelta | None = ...,
        at: datetime | None = ...,
    ) -> Coroutine[Any, Any, Receipt]: ...

    # A plain function, so that an event passes through one coroutine less.
    def publish(
        self,
        topic: str | Topic[Any],
        event: Any,
        *,
        id: str | None = None,
        headers: dict[str, str] | None = None,
        content_type: str | None = None,
        confirm: bool = False,
        timeout: float | str | timedelta | None = None,
        delay: float | str | timedelta | None = None,
        at: datetime | None = None,
    ) -> Coroutine[Any, Any, Receipt]:
        """Publish an event.

        To a plain topic it returns when the event is on its way. Delivery is at most once: a
        subscriber that is away misses it, and so may all when the connection breaks; `flush` tells
        that the server has received all that was published before.

        To a kept topic it returns when the event is stored, to the degree of the broker's
        `features.survives`. Of two publishes of which the second began after the first returned,
        the first is stored first. `DeadlineExceeded` and `ConnectionLost` leave it unknown whether
        the event is stored: `details["event_id"]` of the error is its id, and to publish it again
        with that id within the topic's `dedup` stores nothing twice. Other errors: not stored.

        Args:
            topic: Where: a `Topic`, whose type the event must have, or a name without wildcards.
            event: A value that the codec can write.
            id: The event's id. A kept topic stores an id once within its `dedup`.
            headers: Headers of the application's own.
            content_type: How to write it.
            confirm: For a plain topic: wait until the broker says that someone is subscribed, for
                one round trip.
            timeout: For a kept topic: how long the broker may take, in seconds or as text; the
                client's timeout when not given.
            delay: For a kept topic: how long it waits before it is delivered. With JetStream that
                needs nats-server 2.12 and `full="discard_old"`.
            at: The same as a time.

        Returns:
            The event's id, whether it is stored, and whether its id was stored before.

        Raises:
            CodecError: the event is not of the topic's type, or cannot be written.
            InvalidName: the topic cannot be used.
            UsageError: the id, a header or the timeout cannot be used.
            ConnectionLost: there was no connection within the broker's bound.
            DeadlineExceeded: the broker did not confirm in time.
            QueueFull: the topic is full.
            Unsupported: the topic is kept, and the broker cannot keep it so, or cannot delay.
            NoSubscribers: with `confirm`, no one is subscribed to the topic.
            Unimplemented: with `confirm`, the broker cannot tell.
        """
        given = None
        if (id, timeout, delay, at) != _NOTHING_GIVEN:
            given = _publication(id, timeout, delay, at)
        return self._publisher.publish(
            topic, event, headers, content_type, confirm=confirm, given=given
        )

    @overload
    def publisher(
        self, topic: Topic[E], *, window: int = ..., timeout: float | str | timedelta | None = ...
    ) -> AbstractAsyncContextManager[TopicPublisher[E]]: ...

    @overload
    def publisher(
        self, topic: str, *, window: int = ..., timeout: float | str | timedelta | None = ...
    ) -> AbstractAsyncContextManager[TopicPublisher[Any]]: ...

    def publisher(
        self,
        topic: str | Topic[Any],
        *,
        window: int = DEFAULT_WINDOW,
        timeout: float | str | timedelta | None = WINDOW_TIMEOUT_SECONDS,
    ) -> AbstractAsyncContextManager[TopicPublisher[Any]]:
        """Publish many events of a topic without waiting for each of them.

            async with client.publisher(created, window=4096) as out:
                for event in events:
                    await out.send(event)

        The end of the block waits until every event is confirmed. When the block raises, events
        that wait for their confirmation may or may not be stored.

        Args:
            topic: Where; see `publish`.
            window: Events that may wait for their confirmation.
            timeout: For each of them, its wait for those before it included; 30 s when not given.

        Raises:
            UsageError: the window or the timeout cannot be used.
            ExceptionGroup: at the end of the block, the errors of the events that failed; each has
                the event's id as `details["event_id"]`.
        """
        return open_window(partial(self.publish, topic, timeout=timeout), window)

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


def _publication(
    id: str | None,
    timeout: float | str | timedelta | None,
    delay: float | str | timedelta | None,
    at: datetime | None,
) -> Publication:
    if at is not None and (delay is not None or at.tzinfo is None):
        raise UsageError(f"at must be a datetime with a time zone, without delay, got {at!r}")
    return Publication(
        id=id,
        timeout=_seconds("timeout", timeout),
        delay=_seconds("delay", delay) or 0.0,
        at=at,
    )


def _seconds(name: str, value: float | str | timedelta | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = read_duration(value)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise UsageError(f"{name} must be a duration of more than 0 s, got {value!r}")
    return seconds
