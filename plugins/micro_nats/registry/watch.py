"""What is known of one service, kept fresh by announcements and by asking again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from micro.errors import MicroError
from micro.registry.record import Node, ServiceRecord
from micro_nats.wire.records import Announcement

__all__ = ["DEFAULT_TTL", "Following"]

DEFAULT_TTL = 90.0
_GRACE = 15.0
_AGAIN = 60.0
_SOONEST = 1.0


@dataclass(slots=True)
class _Seen:
    node: Node
    until: float


class Following(AsyncIterator[tuple[ServiceRecord, ...]]):
    """The present set of one service's nodes; iterating gives the newest set that is new.

    Args:
        name: The service.
        ask: Queries the network for it.
    """

    def __init__(self, name: str, ask: Callable[[str], Awaitable[list[Announcement]]]) -> None:
        self.name = name
        self._ask = ask
        self._versions: dict[str, ServiceRecord] = {}
        self._seen: dict[tuple[str, str, str], _Seen] = {}
        self._newest: tuple[ServiceRecord, ...] = ()
        self._given: tuple[ServiceRecord, ...] | None = None
        self._closed = False
        self._wake = asyncio.Event()
        self._joined = asyncio.Event()
        self._restored = False

    async def __anext__(self) -> tuple[ServiceRecord, ...]:
        while self._newest == self._given and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        if self._closed:
            raise StopAsyncIteration
        self._given = self._newest
        return self._newest

    async def begin(self) -> None:
        """Ask for the first set.

        Raises:
            ConnectionLost: there is no connection.
        """
        self.note(await self._ask(self.name))

    def note(self, announcements: Iterable[Announcement]) -> None:
        """Take records that are there."""
        now = time.monotonic()
        for announcement in announcements:
            record = announcement.record
            if record.name != self.name:
                continue
            ttl = announcement.ttl or DEFAULT_TTL
            self._versions[record.version] = replace(record, nodes=())
            for node in record.nodes:
                key = (record.version, *node.key)
                if key not in self._seen:
                    self._joined.set()
                self._seen[key] = _Seen(node, now + ttl)
        self._renew()

    def remove(self, record: ServiceRecord) -> None:
        """Take back a record's nodes, not others that happen to have the same id."""
        for node in record.nodes:
            self._seen.pop((record.version, *node.key), None)
        self._renew()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._wake.set()

    def restored(self) -> None:
        """The connection is back: what was missed is asked for, and nobody expires before that."""
        until = time.monotonic() + _GRACE
        for seen in self._seen.values():
            seen.until = max(seen.until, until)
        self._restored = True
        self._joined.set()

    async def keep(self) -> None:
        """Ask again from time to time, and before a node is forgotten; for ever."""
        while True:
            await self._rest()
            started = time.monotonic()
            try:
                self.note(await self._ask(self.name))
            except MicroError:
                continue  # Without a connection nobody is forgotten; its return wakes this up.
            for key, seen in list(self._seen.items()):
                if seen.until <= started:
                    del self._seen[key]
            self._renew()

    async def _rest(self) -> None:
        """Sleep until the next expiry, or the next round, or the connection's return."""
        end = time.monotonic() + _AGAIN * random.uniform(0.75, 1.25)
        while not self._restored:
            self._joined.clear()
            expiry = min((seen.until for seen in self._seen.values()), default=end)
            wait = min(end, expiry) - time.monotonic()
            try:
                # Not at once, however short the TTL that somebody announced.
                async with asyncio.timeout(max(wait, _SOONEST)):
                    await self._joined.wait()
            except TimeoutError:
                break
        self._restored = False

    def _renew(self) -> None:
        nodes: dict[str, list[Node]] = {}
        for (version, _, _), seen in self._seen.items():
            nodes.setdefault(version, []).append(seen.node)
        self._newest = tuple(
            replace(
                self._versions[version],
                nodes=tuple(sorted(nodes[version], key=lambda node: node.key)),
            )
            for version in sorted(nodes)
        )
        self._wake.set()
