"""The registry: go-micro's discovery by broadcast, on the topics of both its generations.

Nothing is stored anywhere: whoever runs a node answers for it. See go-micro `registry/nats`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from micro.concurrency.once import Once
from micro.errors import CodecError, ConfigError, ConnectionLost, MicroError
from micro.names import check_service
from micro.registry.contract import Registration, Registry, Watch
from micro.registry.record import ServiceRecord, merge_records
from micro.scope import Scope
from micro_nats.connection.connection import Connection, Observer, Subscription
from micro_nats.counters import Counters
from micro_nats.registry.query import QUERY_TOPICS, Lookup
from micro_nats.registry.watch import DEFAULT_TTL, Following
from micro_nats.transport.listener import LONGEST_REPLY
from micro_nats.wire.records import decode_result, encode_result, encode_service

__all__ = ["WATCH_TOPICS", "NatsRegistry"]

log = logging.getLogger("micro.nats")

WATCH_TOPICS = ("micro.registry.nats.watch", "micro.nats.watch")
_NAME = b'"name":"'
_FAREWELL_SECONDS = 1.0


class _Entry:
    """One registration, with its messages written once."""

    __slots__ = ("announcement", "answer", "farewell", "interval", "record", "timer")

    def __init__(self, record: ServiceRecord, ttl: float, interval: float) -> None:
        said = None if ttl == DEFAULT_TTL else ttl
        bare = replace(record, metadata={}, endpoints=())
        bare = replace(bare, nodes=tuple(replace(n, metadata={}) for n in record.nodes))
        self.record = record
        self.interval = interval
        self.answer = encode_service(record, ttl=said)
        self.announcement = encode_result("create", record, ttl=said)
        self.farewell = encode_result("delete", bare)
        self.timer: asyncio.TimerHandle | None = None


class NatsRegistry(Registry, Observer):
    """Discovery over one connection.

    Args:
        connection: The connection.
        counters: Where garbage is counted.
        scope: Where queries and watches run.
    """

    def __init__(self, connection: Connection, counters: Counters, scope: Scope) -> None:
        self._connection = connection
        self._counters = counters
        self._scope = scope
        self._lookup = Lookup(connection, counters, scope)
        self._entries: list[_Entry] = []
        self._responders: list[Subscription] = []
        self._respond = Once(self._start_responding)
        self._followings: dict[str, list[Following]] = {}
        self._listen = Once(self._start_listening)
        connection.observe(self)

    def register(self, record: ServiceRecord, *, ttl: float, interval: float) -> Registration:
        """Answer for a record and announce it; see `Registry.register`.

        Raises:
            ConfigError: not 0 < interval < ttl.
        """
        check_service(record.name)
        if not 0 < interval < ttl:
            raise ConfigError(f"interval must be in 0 < interval < ttl={ttl!r}, got {interval!r}")
        return self._registered(_Entry(record, ttl, interval))

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """Ask everybody; see `Registry.get_service`. It takes half a second at most."""
        found = [each.record for each in await self._lookup.ask(name)]
        own = [entry.record for entry in self._entries]
        return merge_records(record for record in found + own if record.name == name)

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """Ask everybody for all they have; see `Registry.list_services`."""
        found = [each.record for each in await self._lookup.ask("")]
        return merge_records(found + [entry.record for entry in self._entries])

    def watch(self, name: str) -> Watch:
        """Follow a service; see `Registry.watch`.

        A node that stops announcing itself is asked for before it is forgotten, and nobody is
        forgotten while the connection is lost.
        """
        return self._watched(name)

    # Answering

    @asynccontextmanager
    async def _registered(self, entry: _Entry) -> AsyncIterator[None]:
        await self._respond()
        self._entries.append(entry)
        try:
            self._announce(entry)
            await self._connection.flush()
            yield
        finally:
            self._entries.remove(entry)
            if entry.timer is not None:
                entry.timer.cancel()
            await self._take_back(entry)

    async def _start_responding(self) -> None:
        for topic in QUERY_TOPICS:
            self._responders.append(await self._connection.subscribe(topic, self._asked))

    def _announce(self, entry: _Entry) -> None:
        """Announce now, and again after the interval; a little early, so that all spread out."""
        self._broadcast(entry.announcement)
        delay = entry.interval * random.uniform(0.85, 1.0)
        loop = asyncio.get_running_loop()
        entry.timer = loop.call_later(delay, self._announce, entry)

    async def _take_back(self, entry: _Entry) -> None:
        self._broadcast(entry.farewell)
        if not self._entries:
            # Whoever asks when nobody answers is to learn that at once.
            self._respond.undo()
            responders, self._responders = self._responders, []
            for responder in responders:
                responder.unsubscribe()
        with suppress(ConnectionLost, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._connection.flush()

    def _broadcast(self, payload: bytes) -> None:
        for topic in WATCH_TOPICS:
            self._send(topic, payload)

    def _send(self, subject: str, payload: bytes) -> None:
        if not self._connection.connected:
            return  # Its return is announced by itself.
        try:
            self._connection.publish_now(subject, "", payload)
        except MicroError as error:
            log.warning("a registry record was not sent: %s", error)

    def _asked(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        del headers
        if not 0 < len(reply) <= LONGEST_REPLY:
            return
        name = _name_in(data)
        if name is not None and all(entry.record.name != name for entry in self._entries):
            return
        try:
            action, wanted = decode_result(data)
        except CodecError as error:
            self._counters.count_malformed(subject, error)
            return
        for entry in self._entries:
            if action == "list" or (
                action == "get" and wanted is not None and wanted.record.name == entry.record.name
            ):
                self._send(reply, entry.answer)

    # Watching

    @asynccontextmanager
    async def _watched(self, name: str) -> AsyncIterator[AsyncIterator[tuple[ServiceRecord, ...]]]:
        following = Following(name, self._lookup.ask)
        followings = self._followings.setdefault(name, [])
        followings.append(following)
        try:
            # Listen first: what happens between the query and its answer is not missed.
            await self._listen()
            await following.begin()
            keeping = self._scope.start(following.keep(), name=f"micro-nats-watch-{name}")
            try:
                yield following
            finally:
                keeping.cancel()
        finally:
            following.close()
            followings.remove(following)
            if not followings:
                self._followings.pop(name, None)

    async def _start_listening(self) -> None:
        for topic in WATCH_TOPICS:
            await self._connection.subscribe(topic, self._announced)

    def _announced(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del reply, headers
        name = _name_in(data)
        if name is not None and name not in self._followings:
            return
        try:
            action, announcement = decode_result(data)
        except CodecError as error:
            self._counters.count_malformed(subject, error)
            return
        if announcement is None:
            return
        for following in self._followings.get(announcement.record.name, ()):
            if action == "delete":
                following.remove(announcement.record)
            else:
                following.note([announcement])

    def on_restored(self) -> None:
        """Announce everything again, and ask for what was missed."""
        for entry in self._entries:
            self._broadcast(entry.announcement)
        for followings in self._followings.values():
            for following in followings:
                following.restored()


def _name_in(data: bytes) -> str | None:
    """The service's name in a message that Go or this module wrote, without reading it all.

    Every Go writer puts the service's name before all other names. `None` when it is not found.
    """
    at = data.find(_NAME, 0, 64)
    if at < 0:
        return None
    end = data.find(b'"', at + len(_NAME))
    name = data[at + len(_NAME) : end]
    return name.decode() if name.isascii() and b"\\" not in name else None
