"""PostgreSQL through asyncpg."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from micro.errors import ConfigError
from micro_sql.database import Database, Session
from micro_sql.dialect import CHANNEL, POSTGRESQL

__all__ = ["PostgresqlDatabase", "listening"]

CONNECT_TIMEOUT_SECONDS = 10.0


class PostgresqlDatabase(Database):
    """A database of PostgreSQL.

    Args:
        source: A pool, which its owner opens and closes; or a URL, to connect for each use.
    """

    dialect = POSTGRESQL
    unavailable = (
        OSError,
        asyncpg.InterfaceError,
        # What asyncpg raises in use of a connection that was lost within an operation.
        asyncpg.InternalClientError,
        asyncpg.PostgresConnectionError,
        asyncpg.CannotConnectNowError,
        asyncpg.TooManyConnectionsError,
        asyncpg.AdminShutdownError,
    )

    def __init__(self, source: Any) -> None:
        self._source = source

    def session(self, tx: Any) -> Session:
        """Statements in a transaction of asyncpg: a connection that is in one."""
        if not isinstance(tx, asyncpg.Connection | asyncpg.pool.PoolConnectionProxy):
            raise ConfigError(f"a transaction is a connection of asyncpg, got {tx!r}")
        return _Session(tx)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Open a transaction on a connection of the pool."""
        async with self._connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def relaying(self, wake: Callable[[], None]) -> AsyncIterator[Session]:
        """Open a relay's session, which PostgreSQL wakes."""
        async with self._connection() as connection, listening(connection, wake):
            yield _Session(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        if not isinstance(self._source, str):
            connection = await self._source.acquire(timeout=CONNECT_TIMEOUT_SECONDS)
            try:
                yield connection
            finally:
                await _release(self._source, connection)
            return
        own = await asyncpg.connect(self._source, timeout=CONNECT_TIMEOUT_SECONDS)
        try:
            yield own
        finally:
            await own.close(timeout=CONNECT_TIMEOUT_SECONDS)


async def _release(pool: Any, connection: Any) -> None:
    """Give a connection back; a lost one cannot stop listening, which the pool would warn of."""
    if not connection.is_closed():
        await pool.release(connection)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", asyncpg.InterfaceWarning)
        await pool.release(connection)


class _Session(Session):
    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, sql: str, *values: object) -> int:
        # The status is `INSERT 0 1`, `UPDATE 3`, `DELETE 0`.
        status: str = await self._connection.execute(sql, *values)
        last = status.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        rows: list[Any] = await self._connection.fetch(sql, *values)
        return rows


@asynccontextmanager
async def listening(connection: Any, wake: Callable[[], None]) -> AsyncIterator[None]:
    """Call `wake` for each commit of events, while the block lasts."""

    def notified(*_: object) -> None:
        wake()

    await connection.add_listener(CHANNEL, notified)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.remove_listener(CHANNEL, notified)
