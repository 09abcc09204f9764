"""Publishing events: a value, its codec, go-micro's headers, and the broker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import Any

from micro.broker.contract import Broker
from micro.broker.kept_types import Receipt
from micro.codec import Codecs
from micro.errors import MicroError, UsageError
from micro.events.kept_publisher import KeptPublisher, Publication
from micro.events.kept_topics import KeptPolicy, KeptTopics
from micro.message import Message, new_message
from micro.middleware import Layer, Next, Request, Response, fold
from micro.telemetry.metrics import PublisherCounters
from micro.topic import Topic, kept_topic
from micro.wire.headers import CONTENT_TYPE, application_headers, event_headers
from micro.wire.stored import check_event_id

__all__ = ["Publisher"]


class Publisher:
    """Publishes events on a broker.

    Args:
        broker: Takes the messages.
        codecs: Writes the events.
        content_type: How to write them where the caller does not say.
        layers: Middleware round each publication, the first outermost.
        counters: Where it counts; its own when not given.
        kept: What the settings say of kept topics.

    Attributes:
        kept: Publishes to kept topics.
    """

    def __init__(
        self,
        broker: Broker,
        codecs: Codecs,
        content_type: str,
        layers: Sequence[Layer],
        *,
        counters: PublisherCounters | None = None,
        kept: KeptPolicy | None = None,
    ) -> None:
        self._counters = counters or PublisherCounters()
        self._broker = broker
        self._codecs = codecs
        self._content_type = content_type
        self._layers = layers
        self._ids = _event_ids()
        topics = KeptTopics(broker, kept)
        self.kept: KeptPublisher = KeptPublisher(
            topics, codecs, content_type, layers, counters=self._counters
        )

    async def publish(
        self,
        topic: str | Topic[Any],
        event: Any,
        headers: dict[str, str] | None,
        content_type: str | None,
        *,
        confirm: bool = False,
        given: Publication | None = None,
    ) -> Receipt:
        """Publish one event; see `Client.publish`.

        Args:
            topic: Where.
            event: The event.
            headers: The application's own headers.
            content_type: How to write it.
            confirm: Wait until the broker says that someone is subscribed.
            given: An id of the caller's own, and for a kept topic how long it may take.
        """
        type_: Any
        if isinstance(topic, str):
            type_, name, kept = type(event), topic, kept_topic(topic)
        else:
            type_, name, kept = topic.type, topic.name, topic if topic.keep else None
        if kept is not None:
            return await self._keep(kept, event, headers, content_type, confirm, given)
        if given is not None and (given.delay or given.at):
            raise UsageError(f"topic {name!r} is not kept, so its events cannot be delayed")
        id = next(self._ids) if given is None or given.id is None else check_event_id(given.id)
        kind = content_type or self._content_type
        if confirm or self._layers:
            layered = {**(headers or {}), CONTENT_TYPE: kind}
            request = Request("publisher", "", name, layered, event, None)
            await fold(self._layers, self._last(type_, event, id, confirm))(request)
            return Receipt(id)
        body = self._codecs.encoder_for(kind, type_)(event)
        # Without a function of its own for the sending: most events go this way.
        try:
            await self._broker.publish(name, _message(name, id, body, kind, headers))
        except MicroError:
            self._counters.failed += 1
            raise
        self._counters.published += 1
        return Receipt(id)

    async def _keep(
        self,
        topic: Topic[Any],
        event: Any,
        headers: dict[str, str] | None,
        content_type: str | None,
        confirm: bool,
        given: Publication | None,
    ) -> Receipt:
        if confirm:
            raise UsageError(
                f"topic {topic.name!r} is kept ({topic.place}): its publish returns when the event"
                " is stored, so write it without confirm=True"
            )
        given = given or Publication()
        return await self.kept.publish(topic, event, headers or {}, content_type, given)

    def _last(self, type_: Any, event: Any, id: str, confirm: bool) -> Next:
        async def last(request: Request) -> Response:
            topic, headers = request.endpoint, request.headers
            # Layers see the content type among the headers and may change it.
            content_type = headers.pop(CONTENT_TYPE, self._content_type)
            # A layer may put another value in its place, encrypted bytes for example.
            kind = type_ if request.value is event else type(request.value)
            body = self._codecs.encoder_for(content_type, kind)(request.value)
            await self._send(topic, _message(topic, id, body, content_type, headers), confirm)
            return Response(None, {})

        return last

    async def _send(self, topic: str, message: Message, confirm: bool) -> None:
        try:
            if confirm:
                await self._broker.publish_confirmed(topic, message)
            else:
                await self._broker.publish(topic, message)
        except MicroError:
            self._counters.failed += 1
            raise
        self._counters.published += 1


def _message(
    topic: str, id: str, body: bytes, content_type: str, headers: dict[str, str] | None
) -> Message:
    outgoing = event_headers(topic, id, content_type)
    if headers:
        outgoing = {**application_headers(headers), **outgoing}
    return new_message((outgoing, body))


def _event_ids() -> Any:
    """Ids in the shape of random UUIDs: a random start, then counting, which is much cheaper."""
    seed = os.urandom(10).hex()
    prefix = f"{seed[:8]}-{seed[8:12]}-4{seed[12:15]}-a{seed[15:18]}-"
    first = int.from_bytes(os.urandom(5), "big")
    return (f"{prefix}{number & 0xFFFFFFFFFFFF:012x}" for number in count(first))
