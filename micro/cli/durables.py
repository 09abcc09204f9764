"""`micro durable`: the positions of a kept topic."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from micro.broker.kept_types import Position, Start, TopicState
from micro.cli.group import SettingsCommand, seconds, settings_of
from micro.cli.kept import (
    as_json_option,
    confirm,
    find_position,
    kept_broker,
    position_fields,
    read_start,
    time_text,
    topic_name,
)
from micro.cli.output import as_json, on_terminal, say, table
from micro.settings.load import Settings

__all__ = ["durable"]

_HEAD = ("DURABLE", "WAITING", "UNSETTLED", "OLDEST", "EXPIRED", "READERS", "PAUSED UNTIL")


@click.group()
def durable() -> None:
    """Show, pause, resume and move the positions of a kept topic."""


@durable.command(cls=SettingsCommand)
@click.argument("topic")
@click.argument("name", required=False)
@as_json_option
@click.pass_context
def show(ctx: click.Context, topic: str, name: str | None, as_object: bool) -> None:
    """Show how far the durables of TOPIC are: all, or NAME.

    EXPIRED counts events that were removed by age or limit before they were handled; - where the
    broker does not tell.
    """
    state = asyncio.run(_describe(settings_of(ctx), topic_name(topic)))
    found = state.positions if name is None else (find_position(state, name),)
    if as_object or not on_terminal():
        click.echo(as_json([position_fields(state.spec.name, each) for each in found]))
    elif found:
        click.echo(table(_HEAD, map(_row, found)))
    else:
        say(f"topic {state.spec.name!r} has no durables")


@durable.command(cls=SettingsCommand)
@click.argument("topic")
@click.argument("name")
@click.option("--for", "length", type=seconds, default="1h", show_default=True, metavar="DURATION")
@click.pass_context
def pause(ctx: click.Context, topic: str, name: str, length: float) -> None:
    """Deliver nothing to the durable NAME of TOPIC for a time.

    Services that read it stay; the pause ends by itself, or with 'micro durable resume'.
    """
    until = datetime.now(UTC) + timedelta(seconds=length)
    asyncio.run(_pause(settings_of(ctx), topic_name(topic), name, until))
    say(f"paused {name!r} of {topic!r} until {time_text(until)}")


@durable.command(cls=SettingsCommand)
@click.argument("topic")
@click.argument("name")
@click.pass_context
def resume(ctx: click.Context, topic: str, name: str) -> None:
    """End the pause of the durable NAME of TOPIC."""
    asyncio.run(_pause(settings_of(ctx), topic_name(topic), name, None))
    say(f"resumed {name!r} of {topic!r}")


@durable.command(cls=SettingsCommand)
@click.argument("topic")
@click.argument("name")
@click.option("--start", type=read_start, required=True, metavar="START")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def reset(ctx: click.Context, topic: str, name: str, start: Start, yes: bool) -> None:
    """Move the durable NAME of TOPIC to START, as if it had been created there.

    START is all, new, a sequence (17), a time (2026-11-27T22:00) or how long ago (2h). Events
    from there on are delivered again, those before are not, handled or not.
    """
    position = asyncio.run(_reset(settings_of(ctx), topic_name(topic), (name, start), yes=yes))
    left = position.waiting + position.unsettled
    say(f"moved {name!r} of {topic!r}: {left} events to handle")


async def _describe(settings: Settings, topic: str) -> TopicState:
    async with kept_broker(settings) as broker:
        return await broker.describe(topic)


async def _pause(settings: Settings, topic: str, name: str, until: datetime | None) -> None:
    async with kept_broker(settings) as broker:
        find_position(await broker.describe(topic), name)
        await broker.pause(topic, name, until)


async def _reset(settings: Settings, topic: str, move: tuple[str, Start], *, yes: bool) -> Position:
    name, start = move
    async with kept_broker(settings) as broker:
        position = find_position(await broker.describe(topic), name)
        left = position.waiting + position.unsettled
        confirm(f"{name!r} of {topic!r} has {left} events to handle. Move it to {start}?", yes=yes)
        await broker.reset(topic, name, start)
        return find_position(await broker.describe(topic), name)


def _row(position: Position) -> Sequence[str]:
    return (
        position.durable,
        str(position.waiting),
        str(position.unsettled),
        time_text(position.oldest) or "-",
        _count(position.expired_unread),
        _count(position.members),
        time_text(position.paused_until) or "-",
    )


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
