"""Reading stored events in order without a position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

from micro.broker.kept_types import Start, Stored
from micro.broker.memory_kept.log import Entry, EventLog
from micro.errors import ConnectionLost

__all__ = ["MemoryReader"]

_TURN = 256  # events after which the event loop turns once


class MemoryReader(AsyncIterator[Stored]):
    """Gives the events of a log from a start, and follows it when it has no end.

    Args:
        log: Where the events are.
        start: Where to begin.
        end: The last time or sequence; with one the reader does not wait for later events.
        last: The newest sequence of the topic now.
    """

    def __init__(
        self, log: EventLog, start: Start, end: datetime | int | None, *, last: int
    ) -> None:
        self._log = log
        self._follows = end is None
        self._sequence = start - 1 if isinstance(start, int) else 0
        self._since = start.timestamp() if isinstance(start, datetime) else None
        self._last = end if isinstance(end, int) else None
        self._until = end.timestamp() if isinstance(end, datetime) else None
        self._changed = asyncio.Event()
        self._closed = False
        self._given = 0
        if start == "new":
            self._sequence = last

    def wake(self) -> None:
        """An event was stored."""
        self._changed.set()

    def close(self) -> None:
        """The network is gone."""
        self._closed = True
        self._changed.set()

    async def __anext__(self) -> Stored:
        self._given += 1
        if self._given % _TURN == 0:
            await asyncio.sleep(0)
        while True:
            if self._closed:
                raise ConnectionLost("the in-memory network was closed")
            self._changed.clear()
            entry = self._next()
            if entry is not None:
                return entry.stored()
            if not self._follows:
                raise StopAsyncIteration
            await self._changed.wait()

    def _next(self) -> Entry | None:
        while (entry := self._log.after(self._sequence)) is not None and not self._is_past(entry):
            self._sequence = entry.sequence
            if self._since is None or entry.time >= self._since:
                return entry
        return None

    def _is_past(self, entry: Entry) -> bool:
        if self._last is not None:
            return entry.sequence > self._last
        return self._until is not None and entry.time > self._until
