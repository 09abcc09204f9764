"""`micro dead`: events that durables have given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from micro.broker.kept import KeptBroker
from micro.cli.group import SettingsCommand, seconds, settings_of
from micro.cli.kept import as_json_option, confirm, kept_broker, time_text, topic_name
from micro.cli.output import as_json, as_line, as_value, on_terminal, say, table
from micro.errors import MicroError
from micro.events.deadletter import (
    DeadLetter,
    dead_letters,
    drop_dead,
    find_dead,
    purge_dead,
    replay_dead,
)
from micro.settings.load import Settings

__all__ = ["dead"]

_PROGRESS_SECONDS = 1.0
_HEAD = ("KEY", "ID", "DIED", "ATTEMPTS", "REASON", "ERROR")
_TOPIC = click.option("--topic", metavar="TOPIC", help="Only those of this topic.")
_DURABLE = click.option("--durable", metavar="NAME", help="Only those of this durable.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_KEYS = click.argument("keys", nargs=-1, metavar="[KEY]...")


@click.group()
def dead() -> None:
    """List, show, replay and remove dead letters.

    A dead letter is an event that a durable has given up; its KEY is durable/topic/sequence.
    """


@dead.command("list", cls=SettingsCommand)
@_TOPIC
@_DURABLE
@as_json_option
@click.pass_context
def list_(ctx: click.Context, topic: str | None, durable: str | None, as_object: bool) -> None:
    """List the dead letters that no one has replayed or dropped, oldest first."""
    found = asyncio.run(_find(settings_of(ctx), topic, durable))
    if as_object or not on_terminal():
        for letter in found:
            click.echo(as_line(_fields(letter)))
    elif found:
        click.echo(table(_HEAD, map(_row, found)))
    else:
        say("no dead letters")


@dead.command(cls=SettingsCommand)
@click.argument("key")
@click.pass_context
def show(ctx: click.Context, key: str) -> None:
    """Print the dead letter KEY with its headers and body, as JSON."""
    letter = asyncio.run(_show(settings_of(ctx), key))
    headers, body = letter.message
    click.echo(as_json({**_fields(letter), "headers": headers, "body": as_value(body)}))


@dead.command(cls=SettingsCommand)
@_KEYS
@click.option("--all", "everything", is_flag=True, help="All, or those of --topic and --durable.")
@_TOPIC
@_DURABLE
@click.pass_context
def replay(ctx: click.Context, /, **given: Any) -> None:
    """Give dead letters again to the durable that failed, and to no other.

    Attempts are counted anew. A letter that cannot be replayed stays, and the others go on.
    """
    work = _Work(done="replayed", act=replay_dead)
    ctx.exit(0 if asyncio.run(_each(settings_of(ctx), _Choice(ctx, **given), work)) else 1)


@dead.command(cls=SettingsCommand)
@_KEYS
@click.option("--all", "everything", is_flag=True, help="All, or those of --topic and --durable.")
@_TOPIC
@_DURABLE
@_YES
@click.pass_context
def drop(ctx: click.Context, /, yes: bool, **given: Any) -> None:
    """Remove dead letters with their payloads; they are never handled."""
    work = _Work(done="dropped", act=drop_dead, question=None if yes else "Remove them?")
    ctx.exit(0 if asyncio.run(_each(settings_of(ctx), _Choice(ctx, **given), work)) else 1)


@dead.command(cls=SettingsCommand)
@click.option("--older", type=seconds, required=True, metavar="DURATION", help="Such as 30d.")
@_TOPIC
@_DURABLE
@_YES
@click.pass_context
def purge(
    ctx: click.Context, older: float, topic: str | None, durable: str | None, yes: bool
) -> None:
    """Remove the dead letters that died longer ago than --older, with their payloads."""
    confirm("Remove these dead letters?", yes=yes)
    count = asyncio.run(_purge(settings_of(ctx), older, topic, durable))
    say(f"removed {count} dead letters")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is done with each dead letter, and what to ask before."""

    done: str
    act: Callable[[KeptBroker, str], Awaitable[object]]
    question: str | None = None


class _Choice:
    """Which dead letters are meant.

    Raises:
        click.UsageError: none are named, or all and some.
    """

    def __init__(
        self,
        ctx: click.Context,
        keys: Sequence[str],
        everything: bool,
        topic: str | None,
        durable: str | None,
    ) -> None:
        if bool(keys) == everything:
            raise click.UsageError("give the keys that 'micro dead list' shows, or --all", ctx)
        if keys and (topic or durable):
            raise click.UsageError("--topic and --durable go with --all, not with keys", ctx)
        self.keys = tuple(keys)
        self.everything = everything
        self._topic = topic
        self._durable = durable

    async def resolve(self, broker: KeptBroker) -> tuple[str, ...]:
        """The keys."""
        if not self.everything:
            return self.keys
        topic = None if self._topic is None else topic_name(self._topic)
        letters = await dead_letters(broker, topic=topic, durable=self._durable)
        return tuple(letter.key for letter in letters)


async def _find(settings: Settings, topic: str | None, durable: str | None) -> list[DeadLetter]:
    name = None if topic is None else topic_name(topic)
    async with kept_broker(settings) as broker:
        return await dead_letters(broker, topic=name, durable=durable)


async def _show(settings: Settings, key: str) -> DeadLetter:
    async with kept_broker(settings) as broker:
        return await find_dead(broker, key)


async def _purge(settings: Settings, older: float, topic: str | None, durable: str | None) -> int:
    name = None if topic is None else topic_name(topic)
    async with kept_broker(settings) as broker:
        return await purge_dead(broker, older=older, topic=name, durable=durable)


async def _each(settings: Settings, choice: _Choice, work: _Work) -> bool:
    """Do it with each letter, with progress; returns whether all went well."""
    async with kept_broker(settings) as broker:
        keys = await choice.resolve(broker)
        if work.question is not None:
            confirm(f"{len(keys)} dead letters. {work.question}", yes=False)
        done, told = 0, time.monotonic()
        for number, key in enumerate(keys, 1):
            done += await _try(broker, key, work)
            if time.monotonic() - told >= _PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"{work.done} {number} of {len(keys)}")
    say(f"{work.done} {done} of {len(keys)} dead letters")
    return done == len(keys)


async def _try(broker: KeptBroker, key: str, work: _Work) -> bool:
    try:
        await work.act(broker, key)
    except MicroError as error:
        say(f"{key}: {error.detail}")
        return False
    return True


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return {
        "key": letter.key,
        "topic": letter.topic,
        "durable": letter.durable,
        "id": letter.id,
        "sequence": letter.sequence,
        "reason": letter.reason,
        "error": letter.error,
        "attempts": letter.attempts,
        "died_at": time_text(letter.died_at),
    }


def _row(letter: DeadLetter) -> Sequence[str]:
    died = time_text(letter.died_at) or ""
    return letter.key, letter.id, died, str(letter.attempts), letter.reason, letter.error
