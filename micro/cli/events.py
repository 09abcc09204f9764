"""`micro publish` and `micro subscribe`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import click

from micro.broker import Delivery
from micro.cli.body import headers_from, read_body
from micro.cli.group import SettingsCommand, seconds, settings_of
from micro.cli.output import as_line, as_value, on_terminal, one_line, say
from micro.cli.targets import load_name
from micro.codec import Codecs, Raw, default_codecs
from micro.errors import CodecError, ConfigError, DeadlineExceeded
from micro.settings.load import Settings
from micro.telemetry.printable import printable
from micro.topic import Topic, name_of

__all__ = ["publish", "subscribe"]

_MAX_WAITING_EVENTS = 65_536


@click.command(cls=SettingsCommand)
@click.argument("topic")
@click.argument("body", default="{}")
@click.option("-H", "--header", "pairs", multiple=True, metavar="NAME:VALUE")
@click.pass_context
def publish(ctx: click.Context, topic: str, body: str, pairs: Sequence[str]) -> None:
    """Publish BODY on TOPIC; return when the server has it.

    TOPIC is a name, or module:name or path.py:name of a Topic, whose type BODY must have then.

    BODY is JSON, {} when not given; - reads it from standard input, @FILE from a file.
    """
    settings = settings_of(ctx)
    where = _topic(topic)
    event = read_body(body, settings.client_content_type)
    _check_event(where, event, settings.client_content_type)
    asyncio.run(_publish(settings, name_of(where), event, headers_from(pairs)))


@click.command(cls=SettingsCommand)
@click.argument("topic")
@click.option("--queue", metavar="NAME", help="Share the events with others of this group.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option("--timeout", type=seconds, metavar="DURATION", help="End after this time, with 4.")
@click.option("--json", "as_object", is_flag=True, help="Print topic, headers and body as JSON.")
@click.pass_context
def subscribe(
    ctx: click.Context,
    topic: str,
    queue: str | None,
    count: int | None,
    timeout: float | None,
    as_object: bool,
) -> None:
    """Print the events of TOPIC, one a line, until Ctrl-C.

    TOPIC may be a pattern: * stands for one token, a last > for one or more. It may also be
    module:name or path.py:name of a Topic.
    """
    events = _Events(as_object=as_object, count=count)
    name = name_of(_topic(topic))
    asyncio.run(_subscribe(settings_of(ctx), name, queue, events, timeout))


def _topic(text: str) -> str | Topic[Any]:
    """A topic's name as it is; what `module:name` stands for.

    Raises:
        ConfigError: there is no such Topic.
    """
    if ":" not in text:
        return text
    found = load_name(text)
    if not isinstance(found, Topic):
        raise ConfigError(f"target {text!r}: it is not a Topic but {type(found).__name__}")
    return found


def _check_event(topic: str | Topic[Any], event: Raw, content_type: str) -> None:
    """Refuse a body that is not of the topic's type; the body itself is published."""
    if isinstance(topic, str):
        return
    try:
        Codecs(default_codecs()).decoder_for(content_type, topic.type)(event)
    except CodecError as error:
        raise click.UsageError(f"the body is not an event of {topic}: {error.detail}") from error


async def _publish(settings: Settings, topic: str, event: Raw, headers: dict[str, str]) -> None:
    from micro.service import open_client

    async with open_client(settings) as client:
        await client.publish(topic, event, headers=headers)
        await client.flush()


class _Events:
    """Events that wait to be printed.

    Args:
        as_object: Whether to print everything about an event, as JSON.
        count: How many to print; all when `None`.
    """

    def __init__(self, *, as_object: bool, count: int | None) -> None:
        self._as_object = as_object
        self._left = count
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue(_MAX_WAITING_EVENTS)
        self._dropped = 0

    def receive(self, delivery: Delivery) -> None:
        """Keep an event until it is printed; over the bound it is dropped and counted."""
        try:
            self._waiting.put_nowait(delivery)
        except asyncio.QueueFull:
            self._dropped += 1

    async def show(self) -> None:
        """Print events as they come, until `count` are printed."""
        while self._left is None or self._left > 0:
            delivery = await self._waiting.get()
            click.echo(self._line(delivery))
            sys.stdout.flush()
            await delivery.ack()
            if self._left is not None:
                self._left -= 1
            if self._dropped:
                say(f"{self._dropped} events came too fast to be printed and were dropped")
                self._dropped = 0

    def _line(self, delivery: Delivery) -> str:
        headers, body = delivery.message
        if self._as_object:
            fields = {"topic": delivery.topic, "headers": headers, "body": as_value(body)}
            return as_line(fields)
        return f"{printable(delivery.topic)} {one_line(body)}"


async def _subscribe(
    settings: Settings, topic: str, queue: str | None, events: _Events, timeout: float | None
) -> None:
    from micro.service import open_client

    async with (
        open_client(settings) as client,
        await client.broker.subscribe(topic, events.receive, queue=queue),
    ):
        if on_terminal():
            say(f"subscribed to {topic}; press Ctrl-C to end")
        try:
            async with asyncio.timeout(timeout) as limit:
                await events.show()
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(f"no more events of {topic!r} within {timeout:g}s") from None
