"""The broker: events on the topic's subject, in go-micro's envelope or bare."""

from __future__ import annotations

import asyncio
import time

from micro.broker.contract import Broker, Deliver, PlainDelivery
from micro.broker.contract import Subscription as BrokerSubscription
from micro.errors import ConnectionLost, NoSubscribers
from micro.message import Message
from micro.names import check_pattern, check_queue, check_topic
from micro_nats.broker.confirm import ConfirmedPublisher
from micro_nats.connection.connection import Connection, Observer, Subscription
from micro_nats.counters import Counters
from micro_nats.wire.envelope import CloseFrame, encode_json
from micro_nats.wire.events import decode_event, header_block

__all__ = ["NatsBroker"]

_MAX_KNOWN_TOPICS = 4096
_YIELD_EVERY_BYTES = 256 << 10
_RESTORE_SECONDS = 2.0
"""How long publishers wait for subscribers of other processes after a lost connection."""
_RETRY_SECONDS = 0.05


class NatsBroker(Broker, Observer):
    """Publishes and subscribes over one connection; at most once, without acknowledgement.

    Events are read in go-micro's envelope, in ours and bare. They are written in go-micro's, which
    every subscriber of this framework and go-micro's reads, or bare.

    Args:
        connection: The connection.
        counters: Where messages that cannot be read are counted.

    Attributes:
        counters: See above.
    """

    def __init__(self, connection: Connection, counters: Counters) -> None:
        self._connection = connection
        self._bare = connection.settings.bare_events
        self._confirmed = ConfirmedPublisher(connection)
        self._known: set[str] = set()
        self._unpaused = 0
        self._lost = False
        self._restored_by = 0.0
        self.counters = counters
        connection.observe(self)

    async def publish(self, topic: str, message: Message) -> None:
        """Send an event within this turn of the event loop; see `Broker.publish`.

        It waits while the connection is being restored, or while too much waits to be sent. After
        a lost connection the first event of a topic waits up to 2 s until it has a subscriber:
        subscribers lost their connections as well, and may be restored later than this one.
        """
        if topic not in self._known:
            # Checked before the envelope is written, which names the topic as well.
            check_topic(topic)
        data, headers = self._encode(message)
        if topic not in self._known and not await self._learn(topic, data, headers):
            return
        self._unpaused += len(data)
        if self._unpaused > _YIELD_EVERY_BYTES:
            await self._pause()
        if not self._connection.connected:
            await self._connection.wait_connected(self._connection.connect_timeout)
        self._connection.publish_now(topic, "", data, headers)

    async def publish_confirmed(self, topic: str, message: Message) -> None:
        """Send an event and make a round trip; see `Broker.publish_confirmed`."""
        check_topic(topic)
        data, headers = self._encode(message)
        await self._connection.wait_connected(self._connection.connect_timeout)
        await self._confirmed.publish(topic, data, headers)

    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> BrokerSubscription:
        """Subscribe; see `Broker.subscribe`. It lasts through lost connections."""
        check_pattern(topic)
        if queue is not None:
            check_queue(queue)
        counters = self.counters

        def receive(subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
            del reply
            try:
                messages = decode_event(data, headers)
            except CloseFrame as error:
                counters.count_malformed(subject, error)
                return
            for message in messages:
                deliver(PlainDelivery(subject, message))

        return NatsSubscription(await self._connection.subscribe(topic, receive, queue or ""))

    async def flush(self) -> None:
        """Make a round trip to the server, which answers in order."""
        await self._connection.flush()

    def on_lost(self, error: ConnectionLost) -> None:
        """Forget which topics have subscribers."""
        del error
        self._known.clear()
        self._lost = True

    def on_restored(self) -> None:
        """Have the first event of each topic wait for a subscriber."""
        self._known.clear()
        self._lost = False
        self._restored_by = time.monotonic() + _RESTORE_SECONDS

    def _encode(self, message: Message) -> tuple[bytes, bytes]:
        if self._bare:
            return message.body, header_block(message.headers)
        return encode_json(message), b""

    async def _learn(self, topic: str, data: bytes, headers: bytes) -> bool:
        """Find out about a topic on its first event; whether the event must still be sent."""
        if self._lost or time.monotonic() < self._restored_by:
            await self._connection.wait_connected(self._connection.connect_timeout)
            if await self._send_to_subscriber(topic, data, headers):
                self._remember(topic)
                return False
        self._remember(topic)
        return True

    async def _send_to_subscriber(self, topic: str, data: bytes, headers: bytes) -> bool:
        """Send an event as soon as it has a subscriber; false when it had none in time."""
        end = max(self._restored_by, time.monotonic() + _RETRY_SECONDS)
        while True:
            try:
                await self._confirmed.publish(topic, data, headers)
            except NoSubscribers:
                if time.monotonic() >= end:
                    return False
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return True

    def _remember(self, topic: str) -> None:
        if len(self._known) >= _MAX_KNOWN_TOPICS:
            self._known.clear()
        self._known.add(topic)

    async def _pause(self) -> None:
        """Let others run, and wait while more than 8 MiB wait to be sent."""
        self._unpaused = 0
        await asyncio.sleep(0)
        try:
            await self._connection.wait_writable()
        except ConnectionLost:
            return  # the publisher waits for the next connection


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
