"""Where the relays of the tests publish to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from micro import OutboxEvent
from micro.scope import open_scope
from micro.testing import Signal
from micro_sql import SqlOutbox


class Sink:
    """Takes events.

    Attributes:
        events: What was sent.
        tries: The id of each event that was to be sent, those that were refused included.
    """

    def __init__(self, refuse: Callable[[OutboxEvent], None] = lambda _: None) -> None:
        self.events: list[OutboxEvent] = []
        self.tries: list[str] = []
        self._refuse = refuse
        self._signal = Signal()

    async def __call__(self, event: OutboxEvent) -> None:
        self.tries.append(event.id)
        self._refuse(event)
        self.events.append(event)
        self._signal.set()

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.events]

    async def until(self, count: int) -> list[str]:
        await self._signal.until(
            lambda: len(self.events) >= count, lambda: f"{len(self.events)} of {count} were sent"
        )
        return self.ids


@asynccontextmanager
async def relaying(outbox: SqlOutbox, send: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Relay in the background while the block lasts."""
    async with open_scope() as scope:
        yield scope.start(outbox.relay(send))
