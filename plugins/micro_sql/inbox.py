"""An inbox whose marks are in the same transaction as the handler's own writes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import count
from typing import Any

from micro import Inbox
from micro.errors import Unavailable, UsageError
from micro_sql.database import Database, Session, database_of, seconds_of
from micro_sql.schema import check_version

__all__ = ["SqlInbox"]

_log = logging.getLogger("micro.inbox")

CLAIMS_PER_CLEANING = 100
MAX_MARKS_PER_CLEANING = 200
"""More than is added in between, so that expired marks get fewer."""

_MARK = "INSERT INTO micro_inbox (durable, id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_EXPIRED = (
    "DELETE FROM micro_inbox WHERE (durable, id) IN (SELECT durable, id FROM micro_inbox"
    f" WHERE applied_at < {{ago}} ORDER BY applied_at LIMIT {MAX_MARKS_PER_CLEANING})"
)

_claims: ContextVar[tuple[Inbox, Any] | None] = ContextVar("micro_sql_claim", default=None)
"""The claim that the running handler stands in, and its transaction."""


class SqlInbox(Inbox):
    """Applies each event once, where the handler writes in the transaction of the mark.

        inbox = SqlInbox("sqlite:///points.sqlite")

        @service.subscriber(created, durable=True, once=inbox)
        async def award(
            event: OrderCreated, tx: Annotated[aiosqlite.Connection, Depends(inbox.transaction)]
        ) -> None:
            await tx.execute("INSERT INTO awards VALUES (?, ?)", (event.order, event.points))

    The handler neither commits nor rolls back. When the process dies before the commit, neither
    mark nor effect stands, and the event is delivered again; when it dies after the commit, the
    repeated event is not handled again. What the handler does outside of the transaction may be
    repeated.

    On SQLite one event at a time is handled with an inbox of one file.

    Args:
        engine: A path or `sqlite:///` URL, a `postgresql://` URL (a connection for each event), a
            pool of asyncpg, an `AsyncEngine` of SQLAlchemy, or a function that returns one of
            these. Its owner opens and closes it.
        keep: How long a mark is kept. Give at least twice the sum of the topic's age and of the
            time over which its events are tried again: a copy that comes later is handled again.

    Raises:
        ConfigError: the engine cannot be used, or its driver is not installed.
    """

    def __init__(self, engine: Any, *, keep: float | str | timedelta = "30d") -> None:
        self._engine = engine
        self._keep_seconds = int(seconds_of(keep, "keep of SqlInbox"))
        self._claimed = count(1)
        self._known: tuple[Any, Database] | None = None
        if not callable(engine):
            self._database()

    @asynccontextmanager
    async def claim(self, durable: str, id: str) -> AsyncIterator[bool]:
        """Open a transaction with the mark; see `Inbox.claim`."""
        database = self._database()
        entered = False
        try:
            async with database.transaction() as tx:
                new = await database.session(tx).execute(_MARK, durable, id) == 1
                entered = True
                token = _claims.set((self, tx))
                try:
                    yield new
                finally:
                    _claims.reset(token)
        except database.unavailable as error:
            if entered:
                raise
            raise Unavailable(f"the inbox cannot be reached: {error}") from error
        if next(self._claimed) % CLAIMS_PER_CLEANING == 0:
            await self._clean(database)

    async def transaction(self) -> Any:
        """The transaction in which the mark stands, as the driver has it; for `Depends`.

        Raises:
            UsageError: no event of this inbox is being handled.
        """
        claim = _claims.get()
        if claim is None or claim[0] is not self:
            raise UsageError(
                "there is no transaction of this inbox here: give the inbox to the subscriber,"
                " @service.subscriber(topic, durable=True, once=inbox)"
            )
        return claim[1]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Check that the tables are there; see `Inbox.opened`."""
        database = self._database()
        try:
            async with database.transaction() as tx:
                await check_version(database.session(tx), database.dialect, "inbox")
        except database.unavailable as error:
            raise Unavailable(f"the inbox cannot be reached: {error}") from error
        async with database.held_open():
            yield

    async def _clean(self, database: Database) -> None:
        """Remove marks that have expired. The event that is settled now must not fail by it."""
        try:
            async with database.transaction() as tx:
                session: Session = database.session(tx)
                await session.execute(_EXPIRED.format(ago=database.dialect.ago(self._keep_seconds)))
        except database.unavailable as error:
            _log.warning("expired marks of the inbox were not removed: %s", error)

    def _database(self) -> Database:
        engine = self._engine() if callable(self._engine) else self._engine
        if self._known is None or self._known[0] is not engine:
            self._known = (engine, database_of(engine))
        return self._known[1]
