"""Publishing to kept topics: an id, the stored format, and a receipt when the broker has it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from micro.broker.kept_types import Receipt
from micro.codec import Codecs
from micro.context import DurableContext, ambient_context
from micro.deadline import current_deadline
from micro.errors import ConnectionLost, DeadlineExceeded, MicroError, NotFound
from micro.events.evolution import schema_of
from micro.events.kept_topics import KeptTopics
from micro.message import Message
from micro.middleware import Layer, Request, Response, fold
from micro.telemetry.metrics import PublisherCounters
from micro.topic import Topic
from micro.wire.headers import CONTENT_TYPE
from micro.wire.stored import check_event_id, stored_headers

__all__ = ["KeptPublisher", "Publication"]

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What a publish says beside topic and event.

    Attributes:
        id: The event's id; a new one when not given.
        timeout: Seconds until the broker must have it; the client's own when not given.
        delay: Seconds until it is delivered; 0 for at once.
        at: When it is delivered, in place of `delay`.
    """

    id: str | None = None
    timeout: float | None = None
    delay: float = 0.0
    at: datetime | None = None


class KeptPublisher:
    """Stores events.

    Args:
        topics: Makes topics where they are absent.
        codecs: Writes the events.
        content_type: How to write them where the caller does not say.
        layers: Middleware round each publication, the first outermost.
        counters: Where it counts.
    """

    def __init__(
        self,
        topics: KeptTopics,
        codecs: Codecs,
        content_type: str,
        layers: Sequence[Layer],
        *,
        counters: PublisherCounters,
    ) -> None:
        self.topics = topics
        self._codecs = codecs
        self._content_type = content_type
        self._layers = layers
        self._counters = counters
        self._schemas: dict[Topic[Any], str] = {}

    async def publish(
        self,
        topic: Topic[Any],
        event: Any,
        headers: dict[str, str],
        content_type: str | None,
        given: Publication,
    ) -> Receipt:
        """Store one event; see `Client.publish`."""
        id = event_id(topic) if given.id is None else check_event_id(given.id)
        content_type = content_type or self._content_type
        receipt = Receipt(id=id)

        timeout = given.timeout or self.topics.policy.timeout
        resolved = Publication(timeout=timeout, delay=given.delay, at=given.at)

        async def last(request: Request) -> Response:
            nonlocal receipt
            kind = request.headers.pop(CONTENT_TYPE, content_type)
            # A layer may put another value in its place, encrypted bytes for example.
            type_ = topic.type if request.value is event else type(request.value)
            body = self._codecs.encoder_for(kind, type_)(request.value)
            stored = stored_headers(topic.name, id, kind, self._schema(topic), request.headers)
            receipt = await self._store(topic, Message(stored, body), id, resolved)
            return Response(receipt, {})

        layered = {**headers, CONTENT_TYPE: content_type}
        request = Request("publisher", "", topic.name, layered, event, None)
        try:
            await fold(self._layers, last)(request)
        except MicroError as error:
            self._counters.failed += 1
            raise error.with_details(event_id=id)  # noqa: B904  it is the same error
        self._counters.published += 1
        return receipt

    def _schema(self, topic: Topic[Any]) -> str:
        schema = self._schemas.get(topic)
        if schema is None:
            schema = self._schemas[topic] = schema_of(topic)
        return schema

    async def _store(
        self, topic: Topic[Any], message: Message, id: str, given: Publication
    ) -> Receipt:
        """Store within a time, in several tries where a repeat stores nothing twice."""
        timeout = given.timeout or self.topics.policy.timeout
        if (deadline := current_deadline()) is not None:
            timeout = min(timeout, deadline.remaining())
        try:
            async with asyncio.timeout(timeout) as limit:
                await self.topics.ensure(topic)
                at = given.at
                if given.delay:
                    at = self.topics.broker.clock.now() + timedelta(seconds=given.delay)
                receipt = await self._try(topic, message, id, at)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"the broker did not confirm event {id!r} of {topic.name!r} within {timeout:g} s;"
                " it may be stored: repeat the publish with the same id",
                id="micro.publisher",
            ) from error
        self._counters.stored += 1
        self._counters.duplicates += receipt.duplicate
        return receipt

    async def _try(
        self, topic: Topic[Any], message: Message, id: str, at: datetime | None
    ) -> Receipt:
        broker, spec, pause = self.topics.broker, topic.spec, FIRST_PAUSE_SECONDS
        repeatable = spec.dedup > 0 and broker.features.dedup_window
        while True:
            try:
                return await broker.store(topic.name, message, id=id, at=at)
            except ConnectionLost:
                # Within the window an id is stored once, so a repeat cannot store it twice.
                if not repeatable:
                    raise
            except NotFound:
                self.topics.forget(topic)
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)


def event_id(topic: Topic[Any]) -> str:
    """An id for an event without one: new, or derived from the event that is being handled.

    What a durable subscriber publishes gets the same ids when its event is delivered again.
    """
    context = ambient_context.get()
    if isinstance(context, DurableContext):
        return context.next_id(topic.name)
    return str(uuid.uuid4())
