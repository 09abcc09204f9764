"""The in-memory registry: the reference for others, and what tests run on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from micro.errors import ConnectionLost
from micro.names import check_service
from micro.registry.contract import Registration, Registry, Watch
from micro.registry.latest import LatestRecords, check_interval
from micro.registry.record import ServiceRecord, merge_records

__all__ = ["MemoryRegistry"]


class MemoryRegistry(Registry):
    """One network in this process: all who use this registry object see the same services.

    A registration renews itself by a timer of its event loop. When that loop is closed or blocked
    for longer than the TTL, its nodes are forgotten.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[_Entry, None]] = {}
        self._watches: dict[str, set[LatestRecords]] = {}
        self._closed = False

    @property
    def reachable(self) -> bool:
        """Whether the network is open."""
        return not self._closed

    def register(self, record: ServiceRecord, *, ttl: float, interval: float) -> Registration:
        """Make nodes known inside the block; see `Registry.register`.

        Raises:
            ConfigError: not 0 < interval < ttl.
        """
        check_service(record.name)
        check_interval(ttl=ttl, interval=interval)
        return self._registered(record, ttl, interval)

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """Look a service up; see `Registry.get_service`."""
        self._check_open()
        return self._current(name)

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """Look all services up; see `Registry.list_services`."""
        self._check_open()
        return merge_records(e.record for entries in self._entries.values() for e in entries)

    def watch(self, name: str) -> Watch:
        """Follow a service; see `Registry.watch`. The iterator ends when the network is closed."""
        return self._watched(name)

    def silence(self, node: str = "") -> None:
        """Stop renewals, as if the owner had been killed; for tests.

        Args:
            node: The id of a node; all nodes when not given.
        """
        for entries in self._entries.values():
            for entry in entries:
                if not node or any(one.id == node for one in entry.record.nodes):
                    entry.silence()

    def close(self) -> None:
        """Forget everything and end the watches, as when a server is gone permanently."""
        self._closed = True
        for entries in self._entries.values():
            for entry in entries:
                entry.stop()
        self._entries.clear()
        for watches in self._watches.values():
            for watch in watches:
                watch.close()

    @asynccontextmanager
    async def _registered(
        self, record: ServiceRecord, ttl: float, interval: float
    ) -> AsyncIterator[None]:
        self._check_open()
        entry = _Entry(self, record, ttl, interval)
        self._entries.setdefault(record.name, {})[entry] = None
        self._changed(record.name)
        try:
            yield
        finally:
            entry.stop()
            self._remove(entry)

    @asynccontextmanager
    async def _watched(self, name: str) -> AsyncIterator[AsyncIterator[tuple[ServiceRecord, ...]]]:
        self._check_open()
        watch = LatestRecords(self._current(name))
        with self._listed(name, watch):
            yield watch

    @contextmanager
    def _listed(self, name: str, watch: LatestRecords) -> Iterator[None]:
        watches = self._watches.setdefault(name, set())
        watches.add(watch)
        try:
            yield
        finally:
            watches.discard(watch)
            watch.close()
            if not watches:
                self._watches.pop(name, None)

    def _remove(self, entry: _Entry) -> None:
        name = entry.record.name
        entries = self._entries.get(name, {})
        if entry in entries:
            del entries[entry]
            if not entries:
                del self._entries[name]
            self._changed(name)

    def _current(self, name: str) -> tuple[ServiceRecord, ...]:
        return merge_records(entry.record for entry in self._entries.get(name, ()))

    def _changed(self, name: str) -> None:
        if watches := self._watches.get(name):
            current = self._current(name)
            for watch in watches:
                watch.put(current)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost("the in-memory network was closed")


class _Entry:
    """One registration: renewed each `interval`, removed when it was not for `ttl` seconds."""

    def __init__(
        self, registry: MemoryRegistry, record: ServiceRecord, ttl: float, interval: float
    ) -> None:
        self.record = record
        self._registry = registry
        self._ttl = ttl
        self._interval = interval
        self._renewed = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._renewal = self._loop.call_later(interval, self._renew)
        self._expiry = self._loop.call_later(ttl, self._expire)

    def silence(self) -> None:
        self._renewal.cancel()

    def stop(self) -> None:
        self._renewal.cancel()
        self._expiry.cancel()

    def _renew(self) -> None:
        # A loop that stood still runs this before `_expire`, which was due later: no false expiry.
        self._renewed = time.monotonic()
        self._renewal = self._loop.call_later(self._interval, self._renew)

    def _expire(self) -> None:
        left = self._renewed + self._ttl - time.monotonic()
        if left > 0:
            self._expiry = self._loop.call_later(left, self._expire)
        else:
            self.stop()
            self._registry._remove(self)
