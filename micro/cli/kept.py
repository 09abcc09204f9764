"""What the commands about kept topics share: the broker, times and positions in text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from micro.broker.kept import KeptBroker
from micro.broker.kept_types import Position, Start, TopicSpec, TopicState
from micro.cli.output import on_terminal
from micro.cli.targets import load_name
from micro.concurrency.units import read_duration, show_size
from micro.errors import ConfigError, NotFound, UsageError
from micro.settings.hints import nearest
from micro.settings.load import Settings
from micro.topic import Topic

__all__ = [
    "as_json_option",
    "confirm",
    "duration_text",
    "find_position",
    "kept_broker",
    "position_fields",
    "read_end",
    "read_start",
    "spec_text",
    "time_text",
    "topic_name",
]

as_json_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--json", "as_object", is_flag=True, help="Print JSON on a terminal, too."
)


@asynccontextmanager
async def kept_broker(settings: Settings) -> AsyncIterator[KeptBroker]:
    """The broker of the settings, connected.

    Raises:
        UsageError: it stores no events.
    """
    from micro.service import open_client

    async with open_client(settings) as client:
        broker = client.broker
        if not isinstance(broker, KeptBroker):
            name = settings.plugin("broker")
            raise UsageError(f"the broker {name!r} stores no events: use --broker=nats")
        yield broker


def topic_name(text: str) -> str:
    """A topic's name as it is, or that of the Topic that `module:name` stands for.

    Raises:
        ConfigError: there is no such Topic.
    """
    if ":" not in text:
        return text
    found = load_name(text)
    if not isinstance(found, Topic):
        raise ConfigError(f"target {text!r}: it is not a Topic but {type(found).__name__}")
    return found.name


def read_start(text: str) -> Start:
    """Read where to begin: `all`, `new`, a sequence, a time, or how long ago.

    Raises:
        click.BadParameter: it is none of these.
    """
    if text in ("all", "new"):
        return "all" if text == "all" else "new"
    if text.isascii() and text.isdecimal():
        return int(text)
    return read_time(text)


def read_end(text: str) -> datetime | int:
    """Read where to end: a sequence, a time, or how long ago.

    Raises:
        click.BadParameter: it is none of these.
    """
    return int(text) if text.isascii() and text.isdecimal() else read_time(text)


def read_time(text: str) -> datetime:
    """Read `2026-11-27T22:00`, in local time where it names no zone, or `2h` for two hours ago.

    Raises:
        click.BadParameter: it is none of these.
    """
    try:
        if "-" in text:
            return datetime.fromisoformat(text).astimezone(UTC)
        return datetime.now(UTC) - timedelta(seconds=read_duration(text))
    except ValueError:
        raise click.BadParameter(
            f"expected a sequence such as 17, a time such as 2026-11-27T22:00, or how long ago,"
            f" such as 2h; got {text!r}"
        ) from None


def find_position(state: TopicState, durable: str) -> Position:
    """A durable of a topic.

    Raises:
        NotFound: there is none of the name; the text has those there are.
    """
    names = [position.durable for position in state.positions]
    if durable in names:
        return state.positions[names.index(durable)]
    hint = nearest(durable, names)
    also = f"did you mean {hint!r}?" if hint else f"it has {', '.join(sorted(names)) or 'none'}"
    raise NotFound(f"topic {state.spec.name!r} has no durable {durable!r}; {also}")


def position_fields(topic: str, position: Position) -> dict[str, Any]:
    """A position as JSON has it."""
    return {
        "topic": topic,
        "durable": position.durable,
        "waiting": position.waiting,
        "unsettled": position.unsettled,
        "oldest": time_text(position.oldest),
        "expired_unread": position.expired_unread,
        "members": position.members,
        "paused_until": time_text(position.paused_until),
    }


def time_text(time: datetime | None) -> str | None:
    """A time in UTC, to the millisecond."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds")


def duration_text(seconds: float) -> str:
    """A duration in its largest whole unit: `7d`, `90m`, `1.5s`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def spec_text(spec: TopicSpec) -> str:
    """How a topic is kept, on one line."""
    limits = [
        f"age {duration_text(spec.age)}" if spec.age else "",
        f"bytes {show_size(spec.bytes)}" if spec.bytes else "",
        f"messages {spec.messages}" if spec.messages else "",
        f"partitions {spec.partitions}" if spec.partitions else "",
        "work queue" if spec.work else "",
        f"full: {spec.full}",
    ]
    return ", ".join(filter(None, limits))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone.

    Raises:
        UsageError: there is no terminal to ask on.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not on_terminal():
        raise UsageError(f"{question} Add --yes to do it without a terminal")
    click.confirm(question, abort=True, err=True)
