"""An outbox: events are rows of a table, written in the user's transaction."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from micro import Codec, Outbox, OutboxEvent, Topic
from micro.errors import ConfigError, Unavailable
from micro_sql.blocking import execute_blocking
from micro_sql.database import Database, database_of, seconds_of
from micro_sql.relay import Relay
from micro_sql.schema import check_version
from micro_sql.statements import INSERT, SLOTS

__all__ = ["SqlOutbox"]

_log = logging.getLogger("micro.outbox")

FIRST_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 5.0


class SqlOutbox(Outbox[Any]):
    """Publishes what was written in transactions that have committed.

        outbox = SqlOutbox("sqlite:///orders.sqlite")

        async with aiosqlite.connect("orders.sqlite") as tx:
            await tx.execute("INSERT INTO orders VALUES (?)", (order,))
            await outbox.publish(tx, created, OrderCreated(order=order))
            await tx.commit()

    `micro outbox schema` prints the statements that create the table; none is run here. Relays of
    one database share the keys: PostgreSQL locks are held while a batch is published, so a relay
    that dies loses them at once. A SQLite file has one relay at a time; others wait for its end.
    PostgreSQL wakes relays at each commit; beside that they look at the table every `poll`.

    Args:
        engine: A path or `sqlite:///` URL, a `postgresql://` URL, a pool of asyncpg, an
            `AsyncEngine` of SQLAlchemy, or a function that returns one of these. Its owner opens
            and closes it. A relay uses one connection.
        poll: How often a relay looks for events when nothing wakes it.
        keep: How long an event that was sent stays in the table.
        codecs: Codecs beside JSON, MessagePack, bytes and text, or in their place.
        content_type: How events are written.

    Raises:
        ConfigError: the engine cannot be used, or its driver is not installed.
    """

    def __init__(
        self,
        engine: Any,
        *,
        poll: float | str | timedelta = "250ms",
        keep: float | str | timedelta = "1d",
        codecs: Iterable[Codec] = (),
        content_type: str = "application/json",
    ) -> None:
        super().__init__(codecs=codecs, content_type=content_type)
        self._engine = engine
        self._poll = seconds_of(poll, "poll of SqlOutbox")
        self._keep_seconds = int(seconds_of(keep, "keep of SqlOutbox"))
        self._wakers: set[Callable[[], None]] = set()
        self._known: tuple[Any, Database] | None = None
        if not callable(engine):
            self._database()

    async def write(self, tx: Any, event: OutboxEvent) -> None:
        """Add an event to a transaction; see `Outbox.write`.

        Args:
            tx: A connection of aiosqlite, sqlite3 or asyncpg, or an `AsyncConnection` or
                `AsyncSession` of SQLAlchemy.
            event: The event.
        """
        database = self._database()
        await database.session(tx).execute(database.dialect.insert(INSERT), *_row(event))
        self._wake()

    def publish_blocking(
        self,
        tx: Any,
        topic: str | Topic[Any],
        event: Any,
        *,
        id: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Write an event in a transaction of a driver without asyncio; see `publish`.

        Args:
            tx: A connection or cursor of sqlite3 or psycopg, a cursor of Django, or a `Connection`
                or `Session` of SQLAlchemy.
            topic: A `Topic`, or a topic's name.
            event: The event.
            id: Its id; a new one when not given.
            key: Events of one key keep their order.
            headers: Further headers.

        Returns:
            The event's id.

        Raises:
            CodecError: the event cannot be written.
            InvalidName: the topic cannot be used.
        """
        made = self.event(topic, event, id=id, key=key, headers=headers)
        execute_blocking(tx, self._database().dialect.insert(INSERT), _row(made))
        self._wake()
        return made.id

    async def relay(self, send: Callable[[OutboxEvent], Awaitable[None]]) -> None:
        """Publish what has committed, until cancelled; see `Outbox.relay`."""
        pause = FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            database = self._database()
            relay = Relay(database, send, poll=self._poll, keep_seconds=self._keep_seconds)
            began = loop.time()
            self._wakers.add(relay.wake)
            try:
                await relay.run()
            except database.unavailable as error:
                if loop.time() - began > MAX_PAUSE_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                _log.warning("the outbox cannot be read, next try in %.2g s: %s", pause, error)
            finally:
                self._wakers.discard(relay.wake)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def check(self) -> None:
        """Return if the table is there; see `Outbox.check`."""
        database = self._database()
        try:
            async with database.transaction() as tx:
                await check_version(database.session(tx), database.dialect, "outbox")
        except database.unavailable as error:
            raise Unavailable(f"the outbox cannot be reached: {error}") from error

    def _wake(self) -> None:
        for wake in tuple(self._wakers):
            wake()

    def _database(self) -> Database:
        engine = self._engine() if callable(self._engine) else self._engine
        if engine is None:
            raise ConfigError("the function that gives the engine returned None: is it open yet?")
        if self._known is None or self._known[0] is not engine:
            self._known = (engine, database_of(engine))
        return self._known[1]


def _row(event: OutboxEvent) -> tuple[object, ...]:
    slot = zlib.crc32((event.key or event.topic).encode()) % SLOTS
    headers = json.dumps(dict(event.headers))
    values = (event.id, event.topic, event.key, slot, event.kept, event.partition, headers)
    return (*values, event.body)
