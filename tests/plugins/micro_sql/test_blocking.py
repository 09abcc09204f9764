"""Writing events from code without asyncio."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from micro_sql import SqlOutbox
from tests.plugins.micro_sql.places import make_sqlite
from tests.plugins.micro_sql.sink import Sink, relaying


class FormatCursor:
    """A cursor that writes `%s`, as Django's and psycopg's do."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Any) -> None:
        self._connection.execute(sql.replace("%s", "?"), values)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    await make_sqlite(tmp_path / "shop.sqlite")
    return tmp_path / "shop.sqlite"


async def sent(outbox: SqlOutbox) -> list[str]:
    sink = Sink()
    async with relaying(outbox, sink):
        return await sink.until(1)


async def test_an_event_is_written_in_a_transaction_of_sqlite3(path: Path) -> None:
    outbox = SqlOutbox(path)

    with closing(sqlite3.connect(path)) as connection:
        outbox.publish_blocking(connection, "orders", {}, id="rolled back")
        connection.rollback()
        outbox.publish_blocking(connection, "orders", {}, id="a")
        connection.commit()

    assert await sent(outbox) == ["a"]


async def test_an_event_is_written_with_a_cursor_that_counts_no_values(path: Path) -> None:
    outbox = SqlOutbox(path)

    with closing(sqlite3.connect(path)) as connection, connection:
        outbox.publish_blocking(FormatCursor(connection), "orders", {}, id="a", key="ann")

    assert await sent(outbox) == ["a"]


async def test_an_event_is_written_in_a_session_of_sqlalchemy(path: Path) -> None:
    outbox, engine = SqlOutbox(path), create_engine(f"sqlite:///{path}")

    with Session(engine) as session, session.begin():
        outbox.publish_blocking(session, "orders", {}, id="a")
    engine.dispose()

    assert await sent(outbox) == ["a"]
