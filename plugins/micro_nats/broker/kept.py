"""The broker with stored events: JetStream behind the contract of kept topics.

Nothing of JetStream is asked for before the first kept topic is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from micro.broker.kept import Consumption, DeliverKept, KeptBroker
from micro.broker.kept_types import (
    Durable,
    Features,
    Receipt,
    Start,
    Stored,
    Survives,
    TopicSpec,
    TopicState,
)
from micro.errors import ConnectionLost
from micro.message import Message
from micro.scope import Scope
from micro_nats.broker.core import NatsBroker
from micro_nats.connection.connection import Connection
from micro_nats.connection.requests import Requests
from micro_nats.counters import Counters
from micro_nats.jetstream.addresses import Addresses
from micro_nats.jetstream.api import JetStreamApi
from micro_nats.jetstream.durables import Durables
from micro_nats.jetstream.names import Names, topic_filters
from micro_nats.jetstream.operators import Operators
from micro_nats.jetstream.reader import OrderedReader, Reading
from micro_nats.jetstream.topics import SCHEDULES_VERSION, Topics
from micro_nats.jetstream.window import PublishWindow

__all__ = ["NatsKeptBroker"]

# A delayed event is stored while it waits, and leaves with the age of its stream.
_DELAY_MAX_SECONDS = 30 * 24 * 3600.0
_QUORUM = 3


class NatsKeptBroker(NatsBroker, KeptBroker):
    """Plain events over NATS, and stored ones over JetStream.

    Args:
        connection: The connection.
        counters: Where messages that cannot be read are counted.
        scope: Where the tasks run that read durables.
    """

    def __init__(self, connection: Connection, counters: Counters, scope: Scope) -> None:
        super().__init__(connection, counters)
        requests = Requests(connection)
        self._names = Names(namespace=connection.settings.namespace)
        self._api = JetStreamApi(connection, requests)
        self._topics = Topics(self._api, self._names)
        self._addresses = Addresses(self._api, self._topics, self._names)
        self._window = PublishWindow(connection, self._api, scope)
        self._readers: set[OrderedReader] = set()
        self._operators = Operators(self._api, self._topics)
        self._durables = Durables(connection, requests, self._api, self._topics, scope)

    @property
    def features(self) -> Features:
        """What JetStream of the connected server's version can do."""
        quorum = self._topics.fewest_replicas >= _QUORUM
        return Features(
            retained=True,
            work_queue=True,
            start_all=True,
            dedup_window=True,
            delay_max=_DELAY_MAX_SECONDS if self._api.version >= SCHEDULES_VERSION else 0.0,
            nack_delay=True,
            counts_deliveries=True,
            extend=True,
            replay=True,
            partitions=True,
            refuse_when_full=True,
            durable_group=True,
            survives=Survives.QUORUM if quorum else Survives.DISK,
        )

    async def ensure(self, spec: TopicSpec, *, create: bool) -> TopicState:
        """Create the topic's stream if it is absent; see `KeptBroker.ensure`."""
        return await self._topics.ensure(spec, create=create)

    async def store(
        self,
        topic: str,
        message: Message,
        *,
        id: str,
        partition: int | None = None,
        at: datetime | None = None,
        to: str = "",
    ) -> Receipt:
        """Publish an event and wait for the server's receipt; see `KeptBroker.store`.

        An event that the server does not confirm is sent again with its id for up to 20 s.
        """
        address = await self._addresses.find(topic, partition=partition, to=to)
        if at is not None:
            address = self._addresses.later(address, at, id)
        return await self._window.publish(address.outgoing(message, id))

    async def consume(self, topic: str, deliver: DeliverKept, durable: Durable) -> Consumption:
        """Read a durable; see `KeptBroker.consume`."""
        return await self._durables.consume(topic, deliver, durable)

    @asynccontextmanager
    async def read(
        self, topic: str, *, start: Start, end: datetime | int | None = None
    ) -> AsyncIterator[AsyncIterator[Stored]]:
        """Read stored events in order; see `KeptBroker.read`."""
        home = await self._topics.home(topic)
        reading = Reading(
            topic=topic,
            stream=home.stream,
            subjects=topic_filters(self._names, topic, home.partitions, late=home.late),
            start=start,
            end=end,
            partition=lambda subject: self._names.partition_of(topic, subject),
        )
        reader = OrderedReader(self._connection, self._api, reading)
        self._readers.add(reader)
        try:
            await reader.open()
            yield reader
        finally:
            self._readers.discard(reader)
            await reader.aclose()

    async def describe(self, topic: str) -> TopicState:
        """A topic and its positions; see `KeptBroker.describe`."""
        return await self._topics.describe(topic)

    async def forget(self, topic: str, durable: str) -> None:
        """Remove a position; see `KeptBroker.forget`."""
        await self._durables.forget(topic, durable)

    async def remove(self, topic: str, sequence: int) -> None:
        """Remove one event and overwrite its bytes; see `KeptBroker.remove`."""
        await self._topics.remove(topic, sequence)

    async def change(self, spec: TopicSpec) -> TopicState:
        """Update the topic's stream; see `KeptBroker.change`."""
        return await self._topics.change(spec)

    async def pause(self, topic: str, durable: str, until: datetime | None) -> None:
        """Pause or resume a durable, from nats-server 2.11 on; see `KeptBroker.pause`."""
        await self._operators.pause(topic, durable, until)

    async def reset(self, topic: str, durable: str, start: Start) -> None:
        """Move a durable; see `KeptBroker.reset`."""
        await self._operators.reset(topic, durable, start)

    def on_lost(self, error: ConnectionLost) -> None:
        """Have durables and topics be read again when the connection is back."""
        super().on_lost(error)
        self._durables.on_lost(error)
        for reader in self._readers:
            reader.on_lost()

    def close(self) -> None:
        """Fail what is not confirmed yet: the connection is about to be closed."""
        self._window.close()
