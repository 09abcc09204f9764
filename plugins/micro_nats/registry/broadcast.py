"""The registry: go-micro's discovery by broadcast, on the topics of both its generations.

No record is stored anywhere: each process answers for its own nodes. See go-micro `registry/nats`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from micro.concurrency.once import Once
from micro.errors import CodecError
from micro.names import check_service
from micro.registry.contract import Registration, Registry, Watch
from micro.registry.latest import check_interval
from micro.registry.record import ServiceRecord, merge_records
from micro.scope import Scope
from micro_nats.connection.connection import Connection, Observer
from micro_nats.counters import Counters
from micro_nats.registry.announcer import Announcer
from micro_nats.registry.query import ServiceQuery
from micro_nats.registry.rate import RateLimit
from micro_nats.registry.subjects import WATCH_TOPICS, name_in
from micro_nats.registry.watch import ServiceWatch
from micro_nats.wire.records import Announcement, decode_result

__all__ = ["NatsRegistry"]

_MAX_HEARD_MESSAGES = 2000
_MAX_HEARD_BYTES = 256 << 10
"""Announcements that are read in one second, about 100 ms of work; beyond, watches ask instead."""


class NatsRegistry(Registry, Observer):
    """Discovery over one connection.

    Args:
        connection: The connection.
        counters: Where messages that cannot be read are counted.
        scope: Where queries and watches run.
    """

    def __init__(self, connection: Connection, counters: Counters, scope: Scope) -> None:
        self._connection = connection
        self._counters = counters
        self._scope = scope
        self._announcer = Announcer(connection, counters)
        self._query = ServiceQuery(connection, counters, scope, on_late=self._confirm)
        self._watches: dict[str, list[ServiceWatch]] = {}
        self._listen = Once(self._start_listening)
        self._heard = RateLimit(messages=_MAX_HEARD_MESSAGES, size=_MAX_HEARD_BYTES)
        connection.observe(self)

    @property
    def reachable(self) -> bool:
        """Whether there is a connection now."""
        return self._connection.connected

    def register(self, record: ServiceRecord, *, ttl: float, interval: float) -> Registration:
        """Answer for a record and announce it; see `Registry.register`.

        Types of endpoints are left out as far as the record would not fit one NATS message.

        Raises:
            ConfigError: not 0 < interval < ttl.
            PayloadTooLarge: on entering, when the record does not fit even without types.
        """
        check_service(record.name)
        check_interval(ttl=ttl, interval=interval)
        return self._announcer.register(record, ttl=ttl, interval=interval)

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """Ask all processes; see `Registry.get_service`. It takes half a second at most."""
        found = [each.record for each in await self._query.ask(name)]
        records = found + self._announcer.records
        return merge_records(record for record in records if record.name == name)

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """Ask all processes for all they serve; see `Registry.list_services`."""
        found = [each.record for each in await self._query.ask("")]
        return merge_records(found + self._announcer.records)

    def watch(self, name: str) -> Watch:
        """Follow a service; see `Registry.watch`.

        A node that stops announcing itself is asked for before it is forgotten, and none is
        forgotten while the connection is lost.
        """
        return self._watched(name)

    def on_restored(self) -> None:
        """Ask for what was missed while the connection was lost."""
        for watches in self._watches.values():
            for watch in watches:
                watch.restored()

    @asynccontextmanager
    async def _watched(self, name: str) -> AsyncIterator[AsyncIterator[tuple[ServiceRecord, ...]]]:
        watch = ServiceWatch(name, self._ask, self._counters.log_limit)
        watches = self._watches.setdefault(name, [])
        watches.append(watch)
        try:
            # Listen first: what happens between the query and its answer is not missed.
            await self._listen()
            await watch.begin()
            refreshing = self._scope.start(watch.refresh_forever(), name=f"micro-nats-watch-{name}")
            try:
                yield watch.records
            finally:
                refreshing.cancel()
        finally:
            watch.close()
            watches.remove(watch)
            if not watches:
                self._watches.pop(name, None)

    async def _ask(self, name: str) -> list[Announcement]:
        return await self._query.ask(name, anew=True)

    async def _start_listening(self) -> None:
        for topic in WATCH_TOPICS:
            await self._connection.subscribe(topic, self._hear)

    def _hear(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        del reply, headers
        name = name_in(data)
        if name is not None and name not in self._watches:
            return
        watches = self._watches.get(name or "", ())
        # Reading costs fifty times as much as to pass over, and all nodes are asked anyway.
        if any(watch.flooded for watch in watches) or not self._heard.admit(len(data)):
            for watch in watches:
                watch.ask_soon()
            return
        try:
            action, announcement = decode_result(data)
        except CodecError as error:
            self._counters.count_malformed(subject, error)
            return
        if announcement is None:
            return
        for watch in self._watches.get(announcement.record.name, ()):
            if action == "delete":
                watch.withdraw(announcement.record)
            else:
                watch.announce(announcement)

    def _confirm(self, announcement: Announcement) -> None:
        for watch in self._watches.get(announcement.record.name, ()):
            watch.confirm(announcement)
