"""SQLite and PostgreSQL through SQLAlchemy's asyncio engines."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

from sqlalchemy import TextClause, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from micro.errors import ConfigError
from micro_sql.database import Database, Session
from micro_sql.dialect import DIALECTS
from micro_sql.ending import to_its_end

__all__ = ["AlchemyDatabase"]


class AlchemyDatabase(Database):
    """The database of an engine, which its owner disposes of.

    Args:
        engine: For SQLite or PostgreSQL, with any driver.
    """

    unavailable = (OSError, exc.OperationalError, exc.InterfaceError, exc.TimeoutError)

    def __init__(self, engine: AsyncEngine) -> None:
        name = engine.dialect.name
        if name not in DIALECTS:
            raise ConfigError(f"outbox and inbox work on {', '.join(DIALECTS)}, not on {name}")
        self.dialect = DIALECTS[name]
        self._engine = engine

    def session(self, tx: Any) -> Session:
        """Statements in an `AsyncConnection` or `AsyncSession`."""
        if not isinstance(tx, AsyncConnection | AsyncSession):
            raise ConfigError(f"a transaction is an AsyncConnection or AsyncSession, got {tx!r}")
        return _Session(tx)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction on a connection of the engine."""
        async with self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def relaying(self, wake: Callable[[], None]) -> AsyncIterator[Session]:
        """Open a relay's session; with asyncpg below, PostgreSQL wakes it."""
        async with AsyncExitStack() as stack:
            if self.dialect.name == "sqlite":
                await stack.enter_async_context(_one_relay(self._engine))
            connection = await stack.enter_async_context(self._connection())
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            if self._engine.driver == "asyncpg":
                await stack.enter_async_context(_listening(connection, wake))
            yield _Session(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        connection = self._engine.connect()
        try:
            yield await to_its_end(connection.__aenter__())
        finally:
            if self.dialect.claims:
                # The pool would keep the locks of a session that was cancelled.
                await to_its_end(connection.invalidate())
            await to_its_end(connection.close())


class _Session(Session):
    __slots__ = ("_connection",)

    def __init__(self, connection: AsyncConnection | AsyncSession) -> None:
        self._connection = connection

    async def execute(self, sql: str, *values: object) -> int:
        result: Any = await self._connection.execute(_named(sql), _values(values))
        return int(result.rowcount)

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        return list((await self._connection.execute(_named(sql), _values(values))).all())


@lru_cache(maxsize=256)
def _named(sql: str) -> TextClause:
    return text(re.sub(r"\$(\d)", r":v\1", sql))


def _values(values: tuple[object, ...]) -> dict[str, object]:
    return {f"v{number}": value for number, value in enumerate(values, 1)}


# The modules of the other drivers are imported only where those drivers are installed.
def _one_relay(engine: AsyncEngine) -> Any:
    return import_module("micro_sql.sqlite").one_relay(engine.url.database)


@asynccontextmanager
async def _listening(connection: AsyncConnection, wake: Callable[[], None]) -> AsyncIterator[None]:
    raw = await connection.get_raw_connection()
    listening = import_module("micro_sql.postgresql").listening
    async with listening(raw.driver_connection, wake):
        yield
