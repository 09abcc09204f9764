"""Commands that this package adds to the `micro` tool."""

from __future__ import annotations

import asyncio
import signal

import click

from micro import Settings, open_client
from micro.cli.extension import SettingsCommand, say, settings_of
from micro_sql.dialect import DIALECTS
from micro_sql.outbox import SqlOutbox
from micro_sql.schema import schema

__all__ = ["outbox"]


@click.group()
def outbox() -> None:
    """Print the tables of outbox and inbox, and publish what an outbox holds."""


@outbox.command("schema")
@click.option("--dialect", required=True, type=click.Choice(list(DIALECTS)))
def print_schema(dialect: str) -> None:
    """Print the statements that create the tables; a second run of them changes nothing.

    \b
        micro outbox schema --dialect sqlite | sqlite3 orders.sqlite
        micro outbox schema --dialect postgresql | psql "$DATABASE_URL"
    """
    click.echo(schema(dialect), nl=False)


@outbox.command("relay", cls=SettingsCommand)
@click.option("--database", required=True, metavar="URL", help="sqlite:///… or postgresql://…")
@click.pass_context
def relay(ctx: click.Context, database: str) -> None:
    """Publish the events of an outbox until SIGINT or SIGTERM.

    Run as many as you like: they share the work, and take over from one that dies. Services that
    were given the outbox (`Service(outbox=...)`) relay themselves.

    \b
        micro outbox relay --database postgresql://localhost/shop
    """
    asyncio.run(_relay(settings_of(ctx), SqlOutbox(database)))


async def _relay(settings: Settings, source: SqlOutbox) -> None:
    await source.check()
    async with open_client(settings) as client:
        work = asyncio.current_task()
        assert work is not None, "asyncio.run() runs it in a task"
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, work, stopped)
        say("relaying")
        try:
            await source.relay_on(client.broker)
        except asyncio.CancelledError:
            if not stopped.is_set():
                raise
            work.uncancel()


def _stop(work: asyncio.Task[None], stopped: asyncio.Event) -> None:
    stopped.set()
    work.cancel()
