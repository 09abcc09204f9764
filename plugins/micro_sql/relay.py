"""The relay: it reads batches of events that have committed, publishes them, and marks them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from micro import OutboxEvent
from micro.errors import InvalidName, PayloadTooLarge, Unsupported
from micro.scope import open_scope
from micro_sql import statements
from micro_sql.database import Database, Session
from micro_sql.schema import check_version

__all__ = ["Relay"]

_log = logging.getLogger("micro.outbox")

MAX_SLOTS_PER_BATCH = 16
MAX_EVENTS_PER_BATCH = 128
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""What one batch holds in memory, unless its first event alone is larger."""

SEND_TIMEOUT_SECONDS = 10.0
MARK_TIMEOUT_SECONDS = 10.0
"""For marking what was sent, also when the relay is cancelled."""

FIRST_LOOK_SECONDS = 0.005
"""A write wakes the relay of its process before it has committed: looks begin close together."""

FIRST_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 10.0
CLEANING_INTERVAL_SECONDS = 60.0

NEVER_SENT = (PayloadTooLarge, InvalidName, Unsupported)


@dataclass(slots=True)
class _Outcome:
    """What became of the events of a batch."""

    sent: list[int] = field(default_factory=list)
    set_aside: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Pause:
    """A slot whose first event could not be sent."""

    until: float
    seconds: float


class Relay:
    """Publishes the events of one database until it is cancelled; make it in the event loop.

    Args:
        database: Where they are.
        send: Publishes one event.
        poll: Seconds between two looks when nothing wakes it.
        keep_seconds: How long a sent event stays.
    """

    def __init__(
        self,
        database: Database,
        send: Callable[[OutboxEvent], Awaitable[None]],
        *,
        poll: float,
        keep_seconds: int,
    ) -> None:
        self._database = database
        self._send = send
        self._poll = poll
        self._keep_seconds = keep_seconds
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._paused: dict[int, _Pause] = {}
        self._cleaned = 0.0

    def wake(self) -> None:
        """Look for events now; it may be called from any thread."""
        self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Relay until cancelled.

        Raises:
            ConfigError: the table is not there, or has another version.
            Exception: an error of the driver; what was not marked is sent again.
        """
        async with self._database.relaying(self._woken.set) as session:
            await check_version(session, self._database.dialect, "outbox")
            look = FIRST_LOOK_SECONDS
            while True:
                await self._clean(session)
                if await self._relay_batch(session) or await self._wait(min(look, self._poll)):
                    look = FIRST_LOOK_SECONDS
                else:
                    look = min(look * 2, self._poll)

    async def _wait(self, seconds: float) -> bool:
        """Wait for a wake-up; tells whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _relay_batch(self, session: Session) -> int:
        """Publish one batch; returns how many events were settled."""
        now = self._loop.time()
        paused = [slot for slot, pause in self._paused.items() if pause.until > now]
        dialect = self._database.dialect
        find = statements.waiting_slots(dialect, most=MAX_SLOTS_PER_BATCH, paused=paused)
        slots = [row[0] for row in await session.fetch(find)]
        if not slots:
            return 0
        outcome = _Outcome()
        try:
            batch = await self._read(session, slots)
            await self._publish(batch, outcome)
        finally:
            # A cancelled relay marks what was sent as well, so that it is not sent again.
            async with asyncio.timeout(MARK_TIMEOUT_SECONDS):
                await self._mark(session, outcome)
                if dialect.release:
                    await session.fetch(dialect.release)
        return len(outcome.sent) + len(outcome.set_aside)

    async def _read(self, session: Session, slots: Sequence[int]) -> list[Any]:
        most = MAX_EVENTS_PER_BATCH // len(slots)
        numbers: list[int] = []
        total = 0
        for seq, size in sorted(
            map(tuple, await session.fetch(statements.sizes(slots, most=most)))
        ):
            total += size
            if numbers and total > MAX_BATCH_BYTES:
                break
            numbers.append(seq)
        return await session.fetch(statements.rows(numbers)) if numbers else []

    async def _publish(self, batch: Sequence[Any], outcome: _Outcome) -> None:
        """Publish slots side by side, and the events of a slot one after the other."""
        by_slot: dict[int, list[tuple[int, OutboxEvent]]] = {}
        for row in batch:
            by_slot.setdefault(row[4], []).append((row[0], _event(row)))
        async with open_scope() as scope:
            for slot, events in by_slot.items():
                scope.start(self._publish_slot(slot, events, outcome))
            await scope.settle()

    async def _publish_slot(
        self, slot: int, events: Sequence[tuple[int, OutboxEvent]], outcome: _Outcome
    ) -> None:
        for seq, event in events:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    await self._send(event)
            except NEVER_SENT as error:
                _log.error("event %s of %s can never be sent: %s", event.id, event.topic, error)
                outcome.set_aside[seq] = f"{type(error).__name__}: {error}"
            except Exception as error:
                # The boundary of the broker: whether it has the event or not, the same id is sent
                # again, before the later events of its key.
                self._pause(slot, event, error)
                return
            else:
                outcome.sent.append(seq)
        self._paused.pop(slot, None)

    def _pause(self, slot: int, event: OutboxEvent, error: Exception) -> None:
        before = self._paused.get(slot)
        seconds = min(before.seconds * 2, MAX_PAUSE_SECONDS) if before else FIRST_PAUSE_SECONDS
        self._paused[slot] = _Pause(until=self._loop.time() + seconds, seconds=seconds)
        _log.warning(
            "event %s of %s was not sent; it is sent again in %.2g s: %s",
            *(event.id, event.topic, seconds, error or type(error).__name__),
        )

    async def _mark(self, session: Session, outcome: _Outcome) -> None:
        if outcome.sent:
            await session.execute(statements.sent(self._database.dialect, outcome.sent))
        for seq, reason in outcome.set_aside.items():
            await session.execute(statements.set_aside(seq), reason)

    async def _clean(self, session: Session) -> None:
        now = self._loop.time()
        if self._cleaned and now - self._cleaned < CLEANING_INTERVAL_SECONDS:
            return
        delete = statements.expired(self._database.dialect, self._keep_seconds)
        if await session.execute(delete) < statements.MAX_DELETED:
            self._cleaned = now


def _event(row: Any) -> OutboxEvent:
    _, id, topic, key, _, kept, part, headers, body = row
    return OutboxEvent(
        id=id,
        topic=topic,
        key=key,
        kept=bool(kept),
        partition=part,
        headers=json.loads(headers),
        body=bytes(body),
    )
