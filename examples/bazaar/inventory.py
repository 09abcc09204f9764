"""The inventory: a database, a transaction for each call, and a sweep in the background."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Annotated

from pydantic import BaseModel

from examples.bazaar.contracts import InventoryApi, Order, OutOfStock, shipped
from micro import Depends, Service

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS holds (
    order_id TEXT, sku TEXT, count INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (order_id, sku)
);
"""


class InventorySettings(BaseModel):
    """--inventory-database, MICRO_INVENTORY_DATABASE, or database in the table [inventory]."""

    database: str = ":memory:"
    start: dict[str, int] = {"tea": 100, "pot": 5, "cup": 40}
    hold_seconds: float = 86_400.0
    sweep_seconds: float = 60.0


class Database:
    """One connection, which transactions use one after the other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._free = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[sqlite3.Connection, None]:
        """Commit at the end of the block; roll back when it fails."""
        async with self._free:
            with self._connection:
                yield self._connection


service = Service("inventory")
settings = service.config(InventorySettings)


@service.lifespan
def database() -> Iterator[Database]:
    """Open before the first request, with what is on the shelves; closed after the last one."""
    with closing(sqlite3.connect(settings.value.database)) as connection:
        connection.executescript(SCHEMA)
        rows = settings.value.start.items()
        connection.executemany("INSERT OR IGNORE INTO stock VALUES (?, ?)", rows)
        connection.commit()
        yield Database(connection)


async def transaction(
    database: Annotated[Database, Depends(database)],
) -> AsyncIterator[sqlite3.Connection]:
    """Commit when the handler has succeeded, before its answer is sent; else roll back."""
    async with database.begin() as tx:
        yield tx


Transaction = Annotated[sqlite3.Connection, Depends(transaction)]


class Inventory:
    """How many are left."""

    async def count(self, sku: str, tx: Transaction) -> int:
        """How many of an item can be sold."""
        row = tx.execute("SELECT count FROM stock WHERE sku = ?", (sku,)).fetchone()
        return int(row[0]) if row else 0

    async def reserve(self, order: Order, tx: Transaction) -> None:
        """Reserve all lines of an order, or none."""
        for line in order.lines:
            left = await self.count(line.sku, tx)
            if left < line.count:
                raise OutOfStock(line.sku, left)
            tx.execute("UPDATE stock SET count = count - ? WHERE sku = ?", (line.count, line.sku))
            row = (order.id, line.sku, line.count, time.time())
            tx.execute("INSERT INTO holds VALUES (?, ?, ?, ?)", row)


service.implement(InventoryApi, Inventory())


@service.subscriber(shipped, durable=True)
async def forget(order: Order, tx: Transaction) -> None:
    """What is shipped is reserved no longer."""
    tx.execute("DELETE FROM holds WHERE order_id = ?", (order.id,))


async def sweep(database: Annotated[Database, Depends(database)]) -> None:
    """Put back on the shelf what was reserved and not shipped in time."""
    while True:
        await asyncio.sleep(settings.value.sweep_seconds)
        before = time.time() - settings.value.hold_seconds
        async with database.begin() as tx:
            rows = tx.execute("SELECT sku, count FROM holds WHERE at < ?", (before,)).fetchall()
            tx.executemany("UPDATE stock SET count = count + ?2 WHERE sku = ?1", rows)
            tx.execute("DELETE FROM holds WHERE at < ?", (before,))


service.start_task(sweep)
