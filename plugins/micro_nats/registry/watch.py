"""What is known about one service, kept fresh by announcements and by asking again.

Announcements are hints: any user who may publish them can invent nodes or say that others leave.
Answers to a query of our own are worth more. So nodes that a flood of announcements names are shown
only after they have answered, and a node that is said to leave is removed when it does not answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from micro.errors import MicroError
from micro.registry.latest import LatestRecords
from micro.registry.record import Node, ServiceRecord, group_nodes
from micro_nats.counters import LogLimit
from micro_nats.registry.offers import Offers
from micro_nats.wire.records import Announcement

__all__ = ["DEFAULT_TTL_SECONDS", "ServiceWatch"]

DEFAULT_TTL_SECONDS = 90.0
MAX_NODES = 8192
"""Nodes of one service; further ones are not taken in."""
MAX_UNCONFIRMED = 64
"""Nodes that are believed on an announcement alone; beyond, only those that answer a query."""
REFRESH_SECONDS = 60.0
MIN_REFRESH_SECONDS = 1.0
"""Between two queries of one watch, however many reasons there are to ask."""
RESTORE_GRACE_SECONDS = 15.0
FLOOD_MEMORY_SECONDS = 5.0
"""Nodes that were announced this long before a flood are not counted to it."""
_FIRST_RETRY_SECONDS = 0.5
SPREAD_SECONDS = 0.25
"""Queries of many processes that heard the same announcement are spread over this time."""
_SHOW_SECONDS_PER_NODE = 20e-6
"""Pause before a changed set is shown, for each node: sets of thousands are not built each turn."""


@dataclass(slots=True)
class _Known:
    node: Node
    offer: ServiceRecord
    until: float
    confirmed: bool
    since: float
    doubted_at: float | None = None


_Key = tuple[str, str, str]


class ServiceWatch:
    """The present nodes of one service.

    Args:
        name: The service.
        ask: Queries the network for it.
        log_limit: Bounds what is logged about hostile or excessive announcements.

    Attributes:
        records: Iterates over the newest set.
    """

    def __init__(
        self, name: str, ask: Callable[[str], Awaitable[list[Announcement]]], log_limit: LogLimit
    ) -> None:
        self.name = name
        self.records = LatestRecords()
        self._ask = ask
        self._offers = Offers()
        self._known: dict[_Key, _Known] = {}
        self._unconfirmed: dict[_Key, None] = {}
        self._flooded_at: float | None = None
        self._next_expiry = float("inf")
        self._asked_at = float("-inf")
        self._retry = _FIRST_RETRY_SECONDS
        self._must_ask = False
        self._wake = asyncio.Event()
        self._showing: asyncio.Handle | None = None
        self._log_limit = log_limit

    @property
    def flooded(self) -> bool:
        """Whether so many nodes are announced that all will be asked."""
        return self._flooded_at is not None

    async def begin(self) -> None:
        """Ask for the first set.

        Raises:
            ConnectionLost: there is no connection.
        """
        await self._refresh()
        self._show()

    def announce(self, announcement: Announcement) -> None:
        """Take in nodes that are said to be there."""
        if announcement.record.name == self.name:
            self._put(announcement, confirmed=False)

    def confirm(self, announcement: Announcement) -> None:
        """Take in nodes that answered a query."""
        if announcement.record.name == self.name:
            self._put(announcement, confirmed=True)

    def withdraw(self, record: ServiceRecord) -> None:
        """Ask after nodes that are said to leave; until then others are used if there are any."""
        for node in record.nodes:
            known = self._known.get((record.version, *node.key))
            if known is not None and known.doubted_at is None:
                known.doubted_at = time.monotonic()
                self._touch()
                self.ask_soon()

    def ask_soon(self) -> None:
        """Ask again as soon as the bound between two queries allows."""
        self._must_ask = True
        self._wake.set()

    def close(self) -> None:
        """End the iteration."""
        self.records.close()
        if self._showing is not None:
            self._showing.cancel()

    def restored(self) -> None:
        """Ask for what was missed while the connection was lost; no node expires before that."""
        until = time.monotonic() + RESTORE_GRACE_SECONDS
        for known in self._known.values():
            known.until = max(known.until, until)
        self._asked_at = float("-inf")
        self.ask_soon()

    async def refresh_forever(self) -> None:
        """Ask again from time to time, and before a node is forgotten."""
        while True:
            await self._wait_for_refresh()
            try:
                await self._refresh()
            except MicroError:
                # Without a connection no node is forgotten, and its return wakes this up.
                self._asked_at = time.monotonic()

    # Taking in

    def _put(self, announcement: Announcement, *, confirmed: bool) -> None:
        record = announcement.record
        offer = self._offers.intern(record)
        now = time.monotonic()
        until = now + (announcement.ttl or DEFAULT_TTL_SECONDS)
        if until < self._next_expiry:
            self._next_expiry = until
            self._wake.set()
        for node in record.nodes:
            key = (record.version, *node.key)
            known = self._known.get(key)
            if known is None:
                self._add(key, _Known(node, offer, until, confirmed, now))
                continue
            known.until = until
            if known.doubted_at is not None:
                known.doubted_at = None
                self._touch()
            if confirmed and not known.confirmed:
                known.confirmed = True
                self._unconfirmed.pop(key, None)
                self._touch()
            if known.node != node or known.offer is not offer:
                known.node, known.offer = node, offer
                self._touch()

    def _add(self, key: _Key, known: _Known) -> None:
        if len(self._known) >= MAX_NODES:
            self._log_refused(f"more than {MAX_NODES} nodes are announced")
            return
        if not known.confirmed:
            if len(self._unconfirmed) >= MAX_UNCONFIRMED:
                self._note_flood(known.since)
                return
            self._unconfirmed[key] = None
        self._known[key] = known
        self._touch()

    def _note_flood(self, now: float) -> None:
        """Have all nodes asked: those that are genuine answer."""
        if self._flooded_at is None:
            self._flooded_at = now
            self._log_refused(f"more than {MAX_UNCONFIRMED} new nodes at once; asking them")
            self._touch()
        self.ask_soon()

    def _remove(self, key: _Key) -> None:
        self._unconfirmed.pop(key, None)
        if self._known.pop(key, None) is not None:
            self._touch()

    # Asking

    async def _refresh(self) -> None:
        """Ask, and forget the nodes that should have answered and did not."""
        self._must_ask = False
        started = self._asked_at = time.monotonic()
        answers = await self._ask(self.name)
        for announcement in answers:
            self.confirm(announcement)
        flooded, self._flooded_at = self._flooded_at is not None, None
        for key, known in list(self._known.items()):
            doubted = known.doubted_at is not None and known.doubted_at <= started
            if known.until <= started or doubted or (flooded and not known.confirmed):
                self._remove(key)
        self._next_expiry = self._find_expiry()
        self._retry = _FIRST_RETRY_SECONDS if self._known else min(self._retry * 2, REFRESH_SECONDS)
        self._touch()

    async def _wait_for_refresh(self) -> None:
        """Wait until the next round, an expiry or a reason to ask, but not less than the bound."""
        round_ends = self._asked_at + REFRESH_SECONDS * random.uniform(0.75, 1.25)
        while not self._must_ask:
            due = round_ends if self._known else min(round_ends, self._asked_at + self._retry)
            await self._sleep_until(min(due, self._next_expiry))
            now = time.monotonic()
            if now >= due:
                break
            if now >= self._next_expiry:
                # Announcements have moved expiries since this one was noted: look for the next.
                self._next_expiry = self._find_expiry()
                self._must_ask = now >= self._next_expiry
        earliest = self._asked_at + MIN_REFRESH_SECONDS
        earliest = max(earliest, time.monotonic() + random.uniform(0, SPREAD_SECONDS))
        await asyncio.sleep(max(0.0, earliest - time.monotonic()))

    def _find_expiry(self) -> float:
        return min((known.until for known in self._known.values()), default=float("inf"))

    async def _sleep_until(self, end: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            return

    # Showing

    def _touch(self) -> None:
        """Have the set built anew: once a turn of the event loop, less often if it is large."""
        if self._showing is not None:
            return
        loop = asyncio.get_running_loop()
        if len(self._known) <= MAX_UNCONFIRMED:
            self._showing = loop.call_soon(self._show)
        else:
            delay = len(self._known) * _SHOW_SECONDS_PER_NODE
            self._showing = loop.call_later(delay, self._show)

    def _show(self) -> None:
        self._showing = None
        self._offers.retain(known.offer for known in self._known.values())
        visible = [known for known in self._known.values() if self._is_believed(known)]
        trusted = [known for known in visible if known.doubted_at is None]
        # Doubted nodes are passed over while others are left; a stranger can doubt all of them.
        if 2 * len(trusted) >= len(visible):
            visible = trusted
        visible.sort(key=lambda known: (known.offer.version, known.node.key))
        self.records.put(tuple(group_nodes((known.offer, known.node) for known in visible)))

    def _is_believed(self, known: _Known) -> bool:
        if known.confirmed or self._flooded_at is None:
            return True
        return known.since < self._flooded_at - FLOOD_MEMORY_SECONDS

    def _log_refused(self, reason: str) -> None:
        self._log_limit.warning(f"watch {self.name}", "records of %s: %s", self.name, reason)
