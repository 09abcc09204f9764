"""Publishing events: a value, its codec, go-micro's headers, and the broker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import Any

from micro.broker.contract import Broker
from micro.codec import Codecs
from micro.errors import MicroError
from micro.message import Message
from micro.middleware import Layer, Next, Request, Response, fold
from micro.telemetry.metrics import PublisherCounters
from micro.topic import Topic
from micro.wire.headers import CONTENT_TYPE, application_headers, event_headers

__all__ = ["Publisher"]


class Publisher:
    """Publishes events on a broker.

    Args:
        broker: Takes the messages.
        codecs: Writes the events.
        content_type: How to write them where the caller does not say.
        layers: Middleware round each publication, the first outermost.
        counters: Where it counts; its own when not given.
    """

    def __init__(
        self,
        broker: Broker,
        codecs: Codecs,
        content_type: str,
        layers: Sequence[Layer],
        *,
        counters: PublisherCounters | None = None,
    ) -> None:
        self._counters = counters or PublisherCounters()
        self._broker = broker
        self._codecs = codecs
        self._content_type = content_type
        self._layers = layers
        self._chain = fold(layers, self._publish_last) if layers else None
        self._confirmed_chain = fold(layers, self._confirm_last) if layers else None
        self._ids = _event_ids()

    async def publish(
        self,
        topic: str | Topic[Any],
        event: Any,
        headers: dict[str, str] | None,
        content_type: str | None,
        *,
        confirm: bool = False,
    ) -> None:
        """Publish one event; see `Client.publish`."""
        type_: Any = type(event)
        if not isinstance(topic, str):
            type_, topic = topic.type, topic.name
        chain = self._confirmed_chain if confirm else self._chain
        if chain is None:
            kind = content_type or self._content_type
            await self._send(topic, self._message(topic, event, headers, kind, type_), confirm)
            return
        given = dict(headers or {})
        given[CONTENT_TYPE] = content_type or self._content_type
        layered = Request("publisher", "", topic, given, event, None)
        if type_ is not type(event):
            chain = fold(self._layers, self._last_of_type(type_, event, confirm))
        await chain(layered)

    async def _publish_last(self, request: Request) -> Response:
        return await self._send_layered(request, type(request.value), confirm=False)

    async def _confirm_last(self, request: Request) -> Response:
        return await self._send_layered(request, type(request.value), confirm=True)

    def _last_of_type(self, type_: Any, event: Any, confirm: bool) -> Next:
        async def last(request: Request) -> Response:
            # A layer may put another value in its place, encrypted bytes for example.
            kind = type_ if request.value is event else type(request.value)
            return await self._send_layered(request, kind, confirm)

        return last

    async def _send_layered(self, request: Request, type_: Any, confirm: bool) -> Response:
        topic, headers = request.endpoint, request.headers
        # Layers see the content type among the headers and may change it.
        content_type = headers.pop(CONTENT_TYPE, self._content_type)
        message = self._message(topic, request.value, headers, content_type, type_)
        await self._send(topic, message, confirm)
        return Response(None, {})

    def _message(
        self,
        topic: str,
        event: Any,
        headers: dict[str, str] | None,
        content_type: str,
        type_: Any,
    ) -> Message:
        body = self._codecs.encoder_for(content_type, type_)(event)
        outgoing = event_headers(topic, next(self._ids), content_type)
        if headers:
            outgoing = {**application_headers(headers), **outgoing}
        return Message(outgoing, body)

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


def _event_ids() -> Any:
    """Ids in the shape of random UUIDs: a random start, then counting, which is much cheaper."""
    seed = os.urandom(10).hex()
    prefix = f"{seed[:8]}-{seed[8:12]}-4{seed[12:15]}-a{seed[15:18]}-"
    first = int.from_bytes(os.urandom(5), "big")
    return (f"{prefix}{number & 0xFFFFFFFFFFFF:012x}" for number in count(first))
