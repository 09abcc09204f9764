from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner

from micro import load_settings, open_client
from micro_nats import run_server
from micro_sql import SqlOutbox
from micro_sql.commands import outbox as outbox_command
from tests.plugins.micro_sql.places import make_sqlite


def test_the_schema_is_printed_and_a_second_run_of_it_changes_nothing() -> None:
    done = CliRunner().invoke(outbox_command, ["schema", "--dialect", "sqlite"])

    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(done.stdout)
        connection.executescript(done.stdout)
        rows = connection.execute("SELECT part, version FROM micro_schema ORDER BY 1").fetchall()
    assert rows == [("inbox", 1), ("outbox", 1)]


def test_a_dialect_that_is_unknown_is_refused() -> None:
    done = CliRunner().invoke(outbox_command, ["schema", "--dialect", "oracle"])

    assert done.exit_code == 2
    assert "'sqlite', 'postgresql'" in done.stderr


async def test_the_relay_publishes_what_other_programs_have_written(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    await make_sqlite(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        SqlOutbox(path).publish_blocking(connection, "orders.created", {"order": "a"}, id="a")

    async with run_server() as server:
        flags = ["--transport-address", server.address]
        async with (
            open_client(load_settings(flags, {})) as client,
            client.subscribe("orders.created", dict[str, str]) as events,
        ):
            command = (sys.executable, "-m", "micro.cli", "outbox", "relay", "--database")
            environment = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
            relay = await asyncio.create_subprocess_exec(
                *(*command, str(path), *flags), env=environment
            )
            async with asyncio.timeout(15):
                async for event in events:
                    assert event == {"order": "a"}
                    break
                relay.send_signal(signal.SIGTERM)
                assert await relay.wait() == 0
