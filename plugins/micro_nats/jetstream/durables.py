"""Durables of kept topics: which consumers make one, and who reads them."""

from __future__ import annotations

import logging
from dataclasses import replace

from micro.broker.kept import DeliverKept
from micro.broker.kept_types import Durable
from micro.errors import ConnectionLost, Forbidden, NotFound, Unsupported
from micro.scope import Scope
from micro_nats.connection.connection import Connection
from micro_nats.connection.requests import Requests
from micro_nats.jetstream.api import JetStreamApi
from micro_nats.jetstream.consumers import Consumers, durable_config
from micro_nats.jetstream.consumption import NatsConsumption
from micro_nats.jetstream.feed import Feed, Place
from micro_nats.jetstream.names import (
    check_durable,
    consumer_name,
    durable_of,
    returns_consumer_name,
    topic_filters,
)
from micro_nats.jetstream.topics import Home, Topics

__all__ = ["Durables"]

log = logging.getLogger("micro.nats")


class Durables:
    """Reads and removes durables.

    Args:
        connection: The connection.
        requests: Requests on it.
        api: JetStream's API.
        topics: Knows where topics are.
        scope: Where the tasks run that read them.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        api: JetStreamApi,
        topics: Topics,
        scope: Scope,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._consumers = Consumers(api)
        self._topics = topics
        self._names = topics.names
        self._scope = scope
        self._open: set[NatsConsumption] = set()

    async def consume(self, topic: str, deliver: DeliverKept, durable: Durable) -> NatsConsumption:
        """Read a durable; see `KeptBroker.consume`."""
        check_durable(durable.name)
        home = await self._topics.home(topic)
        consumption = NatsConsumption(
            self._connection,
            self._requests,
            durable=durable,
            deliver=deliver,
            ended=self._open.discard,
        )
        places = [] if durable.to_only else self._places(home, durable)
        if await self._has_returns(durable):
            places += self._returns_places(home, durable)
        feeds: list[Feed] = []
        try:
            for place in places:
                feed = Feed(self._connection, self._consumers, place, consumption)
                await feed.attach()
                feeds.append(feed)
        except BaseException:
            for feed in feeds:
                feed.close()
            raise
        self._open.add(consumption)
        consumption.begin(feeds, self._scope)
        return consumption

    async def forget(self, topic: str, durable: str) -> None:
        """Remove a position; see `KeptBroker.forget`."""
        home = await self._topics.home(topic)
        found = [
            name
            for name in await self._consumers.names(home.stream)
            if durable_of(name) == check_durable(durable)
        ]
        for name in found:
            await self._consumers.delete(home.stream, name)
        returned = False
        for partition in (None, *range(home.partitions)):
            name = returns_consumer_name(durable, home.stream, partition)
            try:
                await self._consumers.delete(self._names.returns, name)
            except NotFound:
                continue
            returned = True
        if not found and not returned:
            raise NotFound(f"the topic {topic!r} has no position {durable!r}")

    def on_lost(self, error: ConnectionLost) -> None:
        """Have every durable that is read attach again."""
        for consumption in self._open:
            consumption.on_lost(error)

    async def _has_returns(self, durable: Durable) -> bool:
        try:
            await self._topics.make_returns()
        except (Forbidden, Unsupported) as error:
            if durable.to_only:
                raise
            log.info("events for %r alone are not read: %s", durable.name, error.detail)
            return False
        return True

    def _places(self, home: Home, durable: Durable) -> list[Place]:
        names, topic = self._names, home.topic
        if not durable.partitions:
            subjects = topic_filters(names, topic, home.partitions, late=home.late)
            return [self._place(home, home.stream, durable, consumer_name(durable.name), subjects)]
        return [
            self._place(
                home,
                home.stream,
                durable,
                consumer_name(durable.name, number),
                topic_filters(names, topic, (number,), late=home.late),
            )
            for number in durable.partitions
        ]

    def _returns_places(self, home: Home, durable: Durable) -> list[Place]:
        names, topic, name = self._names, home.topic, durable.name
        # What was stored for a durable before it was first read waits for it.
        whole = replace(durable, start="all")
        if not durable.partitions:
            numbers: list[int | None] = [None, *range(home.partitions)]
            subjects = [names.returned(name, topic, number) for number in numbers]
            consumer = returns_consumer_name(name, home.stream)
            return [self._place(home, names.returns, whole, consumer, subjects)]
        return [
            self._place(
                home,
                names.returns,
                whole,
                returns_consumer_name(name, home.stream, number),
                [names.returned(name, topic, number)],
            )
            for number in durable.partitions
        ]

    def _place(
        self, home: Home, stream: str, durable: Durable, consumer: str, subjects: list[str]
    ) -> Place:
        return Place(
            topic=home.topic,
            stream=stream,
            config=durable_config(consumer, durable, subjects),
            partition=lambda subject: self._names.partition_of(home.topic, subject),
        )
