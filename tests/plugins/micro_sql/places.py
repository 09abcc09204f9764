"""One database through one driver, as the tests use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

from micro_sql import schema
from micro_sql.database import Database, Session, database_of

EFFECTS = "CREATE TABLE IF NOT EXISTS effects (id TEXT NOT NULL)"
TABLES = ("micro_outbox", "micro_inbox", "effects")

CLOSE_SECONDS = 5.0


class Place:
    """A database with the tables, empty.

    Attributes:
        engine: What outbox and inbox are given.
        url: What a program is given for the same database.
    """

    def __init__(self, engine: Any, url: str) -> None:
        self.engine = engine
        self.url = url
        self.database: Database = database_of(engine)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        async with self.database.transaction() as tx:
            yield tx

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        async with self.database.transaction() as tx:
            return [tuple(row) for row in await self.database.session(tx).fetch(sql, *values)]

    async def execute(self, sql: str, *values: object) -> int:
        async with self.database.transaction() as tx:
            return await self.database.session(tx).execute(sql, *values)

    async def effect(self, tx: Any, id: str) -> None:
        session: Session = self.database.session(tx)
        await session.execute("INSERT INTO effects (id) VALUES ($1)", id)

    async def effects(self) -> list[str]:
        return [id for (id,) in await self.fetch("SELECT id FROM effects ORDER BY id")]


async def make_sqlite(path: Path) -> None:
    async with aiosqlite.connect(path) as connection:
        await connection.executescript(schema("sqlite") + EFFECTS)


async def make_postgresql(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(schema("postgresql") + EFFECTS)
        await connection.execute(f"TRUNCATE {', '.join(TABLES)}")
    finally:
        await connection.close()


async def open_place(kind: str, url: str, stack: AsyncExitStack) -> Place:
    """Open a database through a driver: `aiosqlite`, `asyncpg`, or one of them in SQLAlchemy."""
    driver, _, way = kind.partition("+")
    if driver == "aiosqlite":
        await make_sqlite(Path(url.removeprefix("sqlite:///")))
        alchemy = url.replace("sqlite:", "sqlite+aiosqlite:")
    else:
        await make_postgresql(url)
        alchemy = url.replace("postgresql:", "postgresql+asyncpg:")
    if way == "sqlalchemy":
        engine = create_async_engine(alchemy)
        stack.push_async_callback(engine.dispose)
        return Place(engine, url)
    if driver == "aiosqlite":
        return Place(url, url)
    pool = await asyncpg.create_pool(url, min_size=1, max_size=5)
    stack.push_async_callback(_close, pool)
    return Place(pool, url)


async def _close(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except TimeoutError:
        # asyncpg waits without end for a connection that was killed while it was acquired.
        pool.terminate()
