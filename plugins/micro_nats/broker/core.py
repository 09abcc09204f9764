"""The broker: go-micro's events, an envelope on the topic's subject."""

from __future__ import annotations

import asyncio

from micro.broker.contract import Broker, Deliver, PlainDelivery
from micro.broker.contract import Subscription as BrokerSubscription
from micro.errors import CodecError, ConnectionLost
from micro.message import Message
from micro.names import check_pattern, check_queue, check_topic
from micro_nats.connection.connection import Connection, Subscription
from micro_nats.counters import Counters
from micro_nats.wire.envelope import CloseFrame, decode_any, encode_json

__all__ = ["NatsBroker"]

_MOST_KNOWN = 4096
_TURN_BYTES = 256 << 10


class NatsBroker(Broker):
    """Publishes and subscribes over one connection; at most once, without acknowledgement.

    Events are written in go-micro's envelope, which every subscriber reads, and read in either.

    Attributes:
        counters: What was passed over.
    """

    def __init__(self, connection: Connection, counters: Counters) -> None:
        self._connection = connection
        self._known: set[str] = set()
        self._unpaused = 0
        self.counters = counters

    async def publish(self, topic: str, message: Message) -> None:
        """Send an event within this turn of the event loop; see `Broker.publish`.

        It waits only while the connection is being restored, or while too much waits to be sent.
        """
        if topic not in self._known:
            self._learn(topic)
        data = encode_json(message)
        self._unpaused += len(data)
        if self._unpaused > _TURN_BYTES:
            await self._pause()
        if not self._connection.connected:
            await self._connection.wait_connected(self._connection.connect_timeout)
        self._connection.publish_now(topic, "", data)

    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> BrokerSubscription:
        """Subscribe; see `Broker.subscribe`. It lasts through lost connections."""
        check_pattern(topic)
        if queue is not None:
            check_queue(queue)
        counters = self.counters

        def arrived(subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
            del reply, headers
            try:
                messages = decode_any(data)
            except (CodecError, CloseFrame) as error:
                counters.count_malformed(subject, error)
                return
            for message in messages:
                deliver(PlainDelivery(subject, message))

        return NatsSubscription(await self._connection.subscribe(topic, arrived, queue or ""))

    async def flush(self) -> None:
        """Make a round trip to the server, which answers in order."""
        await self._connection.flush()

    def _learn(self, topic: str) -> None:
        check_topic(topic)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(topic)

    async def _pause(self) -> None:
        """Let others run, and wait while more than 8 MiB wait to be sent."""
        self._unpaused = 0
        await asyncio.sleep(0)
        try:
            await self._connection.wait_writable()
        except ConnectionLost:
            return  # The publisher waits for the next connection.


class NatsSubscription(BrokerSubscription):
    """One subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def drain(self) -> None:
        """Unsubscribe, and wait for what the server had routed here."""
        await self._subscription.drain()

    async def aclose(self) -> None:
        """Unsubscribe; what is still on its way is dropped."""
        self._subscription.unsubscribe()
