"""`micro events`: the events that a kept topic holds."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from micro.broker.kept import KeptBroker
from micro.broker.kept_types import Start, Stored
from micro.cli.group import SettingsCommand, settings_of
from micro.cli.kept import as_json_option, kept_broker, read_end, read_start, time_text, topic_name
from micro.cli.output import as_line, as_value, on_terminal, one_line, say
from micro.settings.load import Settings
from micro.telemetry.printable import printable

__all__ = ["events"]


@click.group()
def events() -> None:
    """Look at the events that a kept topic holds; no position moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    start: Start
    end: datetime | int | None
    last: int | None
    count: int | None
    follow: bool
    as_object: bool


@events.command(cls=SettingsCommand)
@click.argument("topic")
@click.option("--start", type=read_start, default="all", metavar="START", show_default=True)
@click.option("--end", type=read_end, metavar="END", help="The last sequence or time.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Begin N sequences back.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option("--follow", is_flag=True, help="Go on as events are stored, until Ctrl-C.")
@as_json_option
@click.pass_context
def show(ctx: click.Context, /, topic: str, **given: Any) -> None:
    """Print the events of TOPIC, one a line: JSON lines where it is no terminal.

    START and END are a sequence (17), a time (2026-11-27T22:00) or how long ago (2h).

    \b
        micro events show orders.created --last 10
        micro events show orders.created --start 1h --follow
    """
    wanted = _Range(**given)
    if wanted.follow and wanted.end is not None:
        raise click.UsageError("--follow has no end: leave out --end, or --follow", ctx)
    if wanted.last is not None and wanted.start != "all":
        raise click.UsageError("give --start or --last, not both", ctx)
    asyncio.run(_show(settings_of(ctx), topic_name(topic), wanted))


async def _show(settings: Settings, topic: str, wanted: _Range) -> None:
    async with kept_broker(settings) as broker:
        shown = await show_events(broker, topic, wanted)
    if on_terminal() and not shown:
        say(f"{topic} holds no such events")


async def show_events(broker: KeptBroker, topic: str, wanted: _Range) -> int:
    """Print the events of a range; returns how many they were."""
    state = await broker.describe(topic)
    start, end, shown = wanted.start, wanted.end, 0
    if wanted.last is not None:
        start = max(state.last_sequence - wanted.last + 1, 1)
    if end is None and not wanted.follow:
        end = state.last_sequence
    if end == 0:
        return 0
    async with broker.read(topic, start=start, end=end) as found:
        async for event in found:
            click.echo(_line(event, as_object=wanted.as_object or not on_terminal()))
            shown += 1
            if wanted.follow:
                sys.stdout.flush()
            if shown == wanted.count:
                break
    return shown


def _line(event: Stored, *, as_object: bool) -> str:
    time = time_text(event.stored_at) or ""
    if not as_object:
        about = printable(f"{event.sequence} {time} {event.id}")
        return f"{about} {one_line(event.message.body)}"
    fields = {
        "topic": event.topic,
        "sequence": event.sequence,
        "id": event.id,
        "stored_at": time,
        "partition": event.partition,
        "headers": event.message.headers,
        "body": as_value(event.message.body),
    }
    return as_line(fields)
