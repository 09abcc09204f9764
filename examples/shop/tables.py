"""The shop's SQLite files. A real shop makes its tables when it is deployed, not when it starts."""

from __future__ import annotations

import os

import aiosqlite

from micro_sql import schema

ORDERS = os.environ.get("SHOP_ORDERS", "orders.sqlite")
LEDGER = os.environ.get("SHOP_LEDGER", "points.sqlite")

BUSY_TIMEOUT_SECONDS = 10.0

# Awards have no unique order: an event that was applied twice would show.
_TABLES = {
    ORDERS: "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, receipt TEXT NOT NULL);",
    LEDGER: """
CREATE TABLE IF NOT EXISTS awards (
    order_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    points INTEGER NOT NULL,
    process INTEGER NOT NULL
);
""",
}


def connect(path: str) -> aiosqlite.Connection:
    """A connection to one of the files, for `async with`."""
    return aiosqlite.connect(path, timeout=BUSY_TIMEOUT_SECONDS)


async def make_tables(path: str) -> None:
    """Make the tables of a file, and those of its outbox or inbox, unless they are there."""
    async with connect(path) as database:
        await database.executescript(schema("sqlite") + _TABLES[path])
