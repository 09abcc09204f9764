"""Statements in transactions of drivers without asyncio: sqlite3, psycopg, Django, SQLAlchemy."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["execute_blocking"]


def execute_blocking(tx: Any, sql: str, values: Sequence[object]) -> None:
    """Run a statement in a connection, a cursor or a session.

    Args:
        tx: What the user has.
        sql: The statement, with `$1` for the first value.
        values: The values.
    """
    if isinstance(tx, sqlite3.Connection | sqlite3.Cursor):
        tx.execute(re.sub(r"\$(\d)", r"?\1", sql), values)
    elif _is_alchemy(tx):
        text = sys.modules["sqlalchemy"].text
        named = {f"v{number}": value for number, value in enumerate(values, 1)}
        tx.execute(text(re.sub(r"\$(\d)", r":v\1", sql)), named)
    else:
        # Django and psycopg write `%s`; the values stand in the order of their numbers.
        tx.execute(re.sub(r"\$\d", "%s", sql), values)


def _is_alchemy(tx: Any) -> bool:
    engine, orm = sys.modules.get("sqlalchemy.engine"), sys.modules.get("sqlalchemy.orm")
    kinds = [
        *([engine.Connection] if engine is not None else []),
        *([orm.Session, orm.scoped_session] if orm is not None else []),
    ]
    return isinstance(tx, tuple(kinds))
