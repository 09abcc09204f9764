"""Where points are kept: a SQLite file that all instances of the points service share."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager

_TABLE = """
CREATE TABLE IF NOT EXISTS awards (
    order_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    points INTEGER NOT NULL,
    process INTEGER NOT NULL
)
"""
# A real ledger would make order_id unique. This one would show an event that was handled twice.


class Ledger:
    """Awards of points.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def create(self) -> None:
        """Make the table, unless another instance has."""
        with self._open() as database:
            database.execute(_TABLE)

    def award(self, order: str, customer: str, points: int) -> None:
        """Write an award down."""
        row = (order, customer, points, os.getpid())
        with self._open() as database:
            database.execute("INSERT INTO awards VALUES (?, ?, ?, ?)", row)

    def balance(self, customer: str) -> tuple[int, int]:
        """A customer's points, and the number of awards they come from."""
        query = "SELECT COALESCE(SUM(points), 0), COUNT(*) FROM awards WHERE customer = ?"
        with self._open() as database:
            points, awards = database.execute(query, (customer,)).fetchone()
        return points, awards

    def totals(self) -> list[tuple[int, int, int]]:
        """For each process that awarded points: its id, how often, and how many."""
        query = "SELECT process, COUNT(*), SUM(points) FROM awards GROUP BY process ORDER BY 1"
        with self._open() as database:
            return database.execute(query).fetchall()

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection, None, None]:
        with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
            yield database
