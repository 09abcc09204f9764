"""What an outbox promises: an event is published if, and only if, a transaction commits."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from opentelemetry import propagate

from micro.broker.contract import Broker
from micro.broker.kept import KeptBroker
from micro.codec import Codec, Codecs, default_codecs
from micro.errors import NotFound, Unsupported
from micro.events.evolution import schema_of
from micro.message import Message
from micro.names import check_topic
from micro.topic import Topic, kept_topic, name_of
from micro.wire.headers import application_headers, event_headers
from micro.wire.stored import check_event_id, stored_headers

__all__ = ["Outbox", "OutboxEvent", "Send", "sender"]

T = TypeVar("T")
"""A transaction, as the user's driver has it."""

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """One event on its way through an outbox.

    Attributes:
        id: Its id; a repeated publish uses the same one.
        topic: The topic's name.
        body: The event, written in its content type.
        headers: All headers that it is published with.
        key: Events of one key keep their order; empty for an event without a key.
        kept: Whether the topic stores events.
        partition: Its partition, on a kept topic that has them.
    """

    id: str
    topic: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    kept: bool = False
    partition: int | None = None


Send = Callable[[OutboxEvent], Awaitable[None]]
"""Publishes one event; on return the broker has it."""


class Outbox(ABC, Generic[T]):
    """Events that are written in the user's own transaction and published after it has committed.

        async with engine.begin() as tx:
            await tx.execute(insert(orders).values(...))
            await outbox.publish(tx, created, OrderCreated(...))

    No event of a transaction that was rolled back is published. Each event of one that committed is
    published at least once while a relay runs: in a service (`Service(outbox=outbox)`), or in the
    program `micro outbox relay`. A repeated publish has the same id: on a kept topic the broker
    stores it once within the topic's `dedup` window, and an inbox filters later copies.

    Events of one key are published in the order in which they were written, if the application
    serialises the transactions that write events of that key; so are those of one topic that have
    no key.

    Args:
        codecs: Codecs beside JSON, MessagePack, bytes and text, or in their place.
        content_type: How events are written.
    """

    def __init__(self, *, codecs: Iterable[Codec] = (), content_type: str = JSON) -> None:
        self._codecs = Codecs([*default_codecs(), *codecs])
        self._content_type = content_type
        self._schemas: dict[Topic[Any], str] = {}

    async def publish(
        self,
        tx: T,
        topic: str | Topic[Any],
        event: Any,
        *,
        id: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Write an event in a transaction; it is published after the transaction has committed.

        The event is encoded now: later changes of the value do not count. The publish middleware
        of a service does not see it.

        Args:
            tx: The open transaction; this neither commits it nor rolls it back.
            topic: A `Topic`, or a topic's name.
            event: The event.
            id: Its id; a new one when not given.
            key: Events of one key keep their order.
            headers: Further headers.

        Returns:
            The event's id.

        Raises:
            CodecError: the event cannot be written.
            InvalidName: the topic cannot be used.
            UsageError: the id or a header cannot be used.
        """
        made = self.event(topic, event, id=id, key=key, headers=headers)
        await self.write(tx, made)
        return made.id

    def event(
        self,
        topic: str | Topic[Any],
        event: Any,
        *,
        id: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> OutboxEvent:
        """Encode an event as `publish` does, without writing it.

        Raises:
            CodecError: the event cannot be written.
            InvalidName: the topic cannot be used.
            UsageError: the id or a header cannot be used.
        """
        name = check_topic(name_of(topic))
        type_: Any = type(event) if isinstance(topic, str) else topic.type
        body = self._codecs.encoder_for(self._content_type, type_)(event)
        made = str(uuid.uuid4()) if id is None else check_event_id(id)
        given = dict(headers or {})
        propagate.inject(given)
        kept = _kept(topic)
        return OutboxEvent(
            id=made,
            topic=name,
            body=body,
            headers=self._headers(name, kept, made, given),
            key=key or "",
            kept=kept is not None,
        )

    def _headers(
        self, name: str, kept: Topic[Any] | None, id: str, given: Mapping[str, str]
    ) -> Mapping[str, str]:
        if kept is None:
            return {**application_headers(given), **event_headers(name, id, self._content_type)}
        schema = self._schemas.get(kept)
        if schema is None:
            schema = self._schemas[kept] = schema_of(kept)
        return stored_headers(name, id, self._content_type, schema, given)

    @abstractmethod
    async def write(self, tx: T, event: OutboxEvent) -> None:
        """Add an event to a transaction; an error of the driver is raised as it is."""

    @abstractmethod
    async def relay(self, send: Send) -> None:
        """Publish what has committed, until cancelled; several relays may run side by side.

        Of the relays one at a time publishes the events of a key. An event is marked as sent after
        `send` has returned. When `send` fails it is repeated with the same id, after a pause, and
        the later events of its key wait; an event that can never be sent (`PayloadTooLarge`,
        `InvalidName`, `Unsupported`) is set aside with its error and logged, and the later ones go
        on. An outbox that cannot be reached is tried again without end.

        Args:
            send: Publishes one event.

        Raises:
            ConfigError: the outbox is not set up, or is of another version.
        """

    async def relay_on(self, broker: Broker) -> None:
        """Publish on a broker what has committed, until cancelled; see `relay`."""
        await self.relay(sender(broker))

    @abstractmethod
    async def check(self) -> None:
        """Return if events can be written; a service calls it at start.

        Raises:
            Unavailable: what keeps the events cannot be reached.
            ConfigError: it is not set up, or is of another version.
        """


def sender(broker: Broker) -> Send:
    """What publishes the events of an outbox on a broker.

    A kept topic that is absent is made, if this process has the `Topic`.
    """

    async def send(event: OutboxEvent) -> None:
        message = Message(dict(event.headers), event.body)
        if not event.kept:
            await broker.publish(event.topic, message)
            await broker.flush()
        elif isinstance(broker, KeptBroker):
            await _store(broker, event, message)
        else:
            raise Unsupported(f"this broker keeps no events, but topic {event.topic!r} is kept")

    return send


async def _store(broker: KeptBroker, event: OutboxEvent, message: Message) -> None:
    store = partial(broker.store, event.topic, message, id=event.id, partition=event.partition)
    try:
        await store()
    except NotFound:
        topic = kept_topic(event.topic)
        if topic is None:
            raise
        # A stream of a platform team is used as it is.
        await broker.ensure(topic.spec, create=not topic.spec.place)
        await store()


def _kept(topic: str | Topic[Any]) -> Topic[Any] | None:
    known = kept_topic(topic) if isinstance(topic, str) else topic
    return known if known is not None and known.keep is not None else None
