"""SQLite through aiosqlite, and through sqlite3 where the user's transaction is one of its."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import aiosqlite

from micro.errors import ConfigError
from micro_sql.database import Database, Session
from micro_sql.dialect import SQLITE
from micro_sql.ending import to_its_end

__all__ = ["SqliteDatabase", "numbered", "one_relay"]

BUSY_TIMEOUT_SECONDS = 10.0
"""How long a statement waits for another writer."""

LOCK_POLL_SECONDS = 0.25


class SqliteDatabase(Database):
    """A SQLite file. Every transaction has a connection of its own.

    Args:
        path: The file.
    """

    dialect = SQLITE
    unavailable = (sqlite3.OperationalError, OSError)

    def __init__(self, path: str) -> None:
        if path in ("", ":memory:"):
            raise ConfigError("outbox and inbox need a SQLite file, not a database in memory")
        self._path = path
        self._writers = asyncio.Lock()

    def session(self, tx: Any) -> Session:
        """Statements in a transaction of aiosqlite or sqlite3."""
        if isinstance(tx, aiosqlite.Connection):
            return _AioSession(tx)
        if isinstance(tx, sqlite3.Connection):
            return _PlainSession(tx)
        raise ConfigError(f"a transaction is a connection of aiosqlite or sqlite3, got {tx!r}")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """Open a transaction that may write; others of this process wait in order."""
        async with self._writers, self._connection() as connection:
            # Closing the connection rolls back what was not committed.
            await connection.execute("BEGIN IMMEDIATE")
            yield connection
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def held_open(self) -> AsyncIterator[None]:
        """Keep one connection open, unused.

        When the last one is closed, SQLite writes its log into the file, and that costs as much as
        twenty transactions.
        """
        async with self._connection() as connection:
            await _AioSession(connection).fetch(SQLITE.has_table, "micro_schema")
            yield

    @asynccontextmanager
    async def relaying(self, wake: Callable[[], None]) -> AsyncIterator[Session]:
        """Open the session of the only relay; SQLite tells of no commits."""
        del wake
        async with one_relay(self._path), self._connection() as connection:
            yield _AioSession(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = aiosqlite.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None
        )
        try:
            yield await to_its_end(connection.__aenter__())
        finally:
            await to_its_end(connection.close())


class _AioSession(Session):
    __slots__ = ("_connection",)

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, *values: object) -> int:
        async with self._connection.execute(numbered(sql), values) as cursor:
            return cursor.rowcount

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        return list(await self._connection.execute_fetchall(numbered(sql), values))


class _PlainSession(Session):
    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, *values: object) -> int:
        return self._connection.execute(numbered(sql), values).rowcount

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        return self._connection.execute(numbered(sql), values).fetchall()


@lru_cache(maxsize=256)
def numbered(sql: str) -> str:
    """A statement with SQLite's marks for values."""
    return re.sub(r"\$(\d)", r"?\1", sql)


@asynccontextmanager
async def one_relay(path: str) -> AsyncIterator[None]:
    """Wait until no other relay of the file runs; the lock ends with the process, however it ends.

    A lock in the database itself would keep the application from writing.
    """
    file = os.open(f"{path}-relay", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        while not _locked(file):  # noqa: ASYNC110  no event tells of another process's lock
            await asyncio.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
