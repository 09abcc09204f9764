"""`micro topics`: kept topics as the code declares them, and as the broker has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from micro.broker.kept import KeptBroker
from micro.broker.kept_types import TopicSpec, TopicState
from micro.cli.group import SettingsCommand, settings_of
from micro.cli.kept import (
    as_json_option,
    confirm,
    find_position,
    kept_broker,
    position_fields,
    spec_text,
    topic_name,
)
from micro.cli.output import as_json, on_terminal, say, table
from micro.cli.positions import UsedPositions
from micro.cli.readable import unreadable
from micro.cli.schemas import compare_schemas, read_schemas, topic_schemas
from micro.cli.targets import load_topics
from micro.errors import MicroError, NotFound, Unsupported
from micro.service import Service
from micro.settings.load import Settings
from micro.topic import Topic

__all__ = ["topics"]

_TARGETS = click.argument("targets", nargs=-1, required=True, metavar="TARGET...")


@click.group()
def topics() -> None:
    """Compare kept topics in code with those of the broker, create and change them.

    TARGET is a module or a file, as for 'micro run': every kept Topic that it makes or imports
    counts.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done with one topic: `create`, `change`, `none`, or `refused`."""

    topic: Topic[Any]
    action: str
    details: tuple[str, ...] = ()
    state: TopicState | None = None
    unused: tuple[str, ...] = ()
    """Positions of the services at hand that their code does not use."""

    def fields(self) -> dict[str, Any]:
        """The step as JSON has it."""
        positions = () if self.state is None else self.state.positions
        return {
            "topic": self.topic.name,
            "action": self.action,
            "details": list(self.details),
            "positions": [
                position_fields(self.topic.name, each) | {"unused": each.durable in self.unused}
                for each in positions
            ],
        }


@topics.command(cls=SettingsCommand)
@_TARGETS
@as_json_option
@click.pass_context
def plan(ctx: click.Context, targets: Sequence[str], as_object: bool) -> None:
    """Show what 'micro topics apply' would do; change nothing.

    It shows positions, too, and which of them TARGET's services do not use any more.
    """
    steps = asyncio.run(_plan(settings_of(ctx), *load_topics(targets)))
    _show(steps, as_object=as_object)


@topics.command(cls=SettingsCommand)
@_TARGETS
@click.option("--allow-loss", is_flag=True, help="Make limits smaller, which can remove events.")
@as_json_option
@click.pass_context
def apply(ctx: click.Context, targets: Sequence[str], allow_loss: bool, as_object: bool) -> None:
    """Create topics that are absent, and change those that are kept in another way.

    It exits with 1 if a topic could not be created or changed; the others are.
    """
    steps = asyncio.run(_apply(settings_of(ctx), load_topics(targets)[0], allow_loss))
    _show(steps, as_object=as_object)
    if any(step.action == "refused" for step in steps):
        ctx.exit(1)


@topics.command(cls=SettingsCommand)
@_TARGETS
@click.option("--events", default=100, show_default=True, type=click.IntRange(min=0), metavar="N")
@click.option("--against", metavar="FILE", help="Compare with these schemas; ask no broker.")
@as_json_option
@click.pass_context
def check(
    ctx: click.Context, targets: Sequence[str], events: int, against: str | None, as_object: bool
) -> None:
    """Exit with 1 if a topic is absent or kept in another way, or if its events cannot be read.

    It reads the newest N events of each topic with the type, version and upcasts of the code.

    With --against it compares the code's types with those of an older version, as 'micro topics
    schema' has printed them: whether each can read the other's events. That needs no server.
    """
    found = load_topics(targets)[0]
    if against is None:
        steps = asyncio.run(_check(settings_of(ctx), found, events))
    else:
        steps = against_schemas(found, read_schemas(against))
    _show(steps, as_object=as_object)
    if any(step.action != "none" for step in steps):
        ctx.exit(1)


@topics.command()
@_TARGETS
def schema(targets: Sequence[str]) -> None:
    """Print the versions and JSON schemas of topics, for 'micro topics check --against'."""
    click.echo(as_json(topic_schemas(load_topics(targets)[0])))


@topics.command(cls=SettingsCommand)
@click.argument("topic")
@click.argument("durable")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def forget(ctx: click.Context, topic: str, durable: str, yes: bool) -> None:
    """Remove the position DURABLE of TOPIC.

    A service that uses it later begins anew, at its start.
    """
    asyncio.run(_forget(settings_of(ctx), topic_name(topic), durable, yes=yes))


async def plan_topics(broker: KeptBroker, wanted: Iterable[Topic[Any]]) -> list[Step]:
    """What is to be done so that the broker keeps these topics as they are declared."""
    return [await _step(broker, topic) for topic in wanted]


async def apply_topics(
    broker: KeptBroker, wanted: Iterable[Topic[Any]], *, allow_loss: bool
) -> list[Step]:
    """Do it, topic by topic; what is refused does not stop the others."""
    return [await _do(broker, step, allow_loss) for step in await plan_topics(broker, wanted)]


async def check_topics(
    broker: KeptBroker, wanted: Iterable[Topic[Any]], *, events: int
) -> list[Step]:
    """What is to be done, and which topics have events that the code cannot read."""
    steps = await plan_topics(broker, wanted)
    return [await _check_events(broker, step, events) for step in steps]


def against_schemas(wanted: Iterable[Topic[Any]], old: dict[str, Any]) -> list[Step]:
    """Which topics have types that cannot read the events of an older version, or the reverse."""
    steps = []
    for topic in wanted:
        errors = compare_schemas(topic, old[topic.name]) if topic.name in old else []
        action = "incompatible" if errors else "none"
        steps.append(Step(topic=topic, action=action, details=tuple(errors)))
    return steps


async def _step(broker: KeptBroker, topic: Topic[Any]) -> Step:
    try:
        state = await broker.ensure(topic.spec, create=False)
    except NotFound:
        return Step(topic=topic, action="create", details=(spec_text(topic.spec),))
    except Unsupported as error:
        return Step(topic=topic, action="refused", details=(error.detail,))
    action = "change" if state.differences else "none"
    # Positions are asked for on their own: `ensure` need not tell them.
    described = await broker.describe(topic.name)
    return Step(topic=topic, action=action, details=state.differences, state=described)


async def _do(broker: KeptBroker, step: Step, allow_loss: bool) -> Step:
    try:
        if step.action == "create":
            state = await broker.ensure(step.topic.spec, create=True)
            return Step(topic=step.topic, action="created", details=step.details, state=state)
        if step.action == "change" and step.state is not None:
            _refuse_loss(step.state.spec, step.topic.spec, allow_loss=allow_loss)
            state = await broker.change(step.topic.spec)
            return Step(topic=step.topic, action="changed", details=step.details, state=state)
    except MicroError as error:
        return Step(topic=step.topic, action="refused", details=(error.detail,), state=step.state)
    return step


def _refuse_loss(has: TopicSpec, wanted: TopicSpec, *, allow_loss: bool) -> None:
    """Refuse limits that can remove events; 0 is no limit."""
    smaller = [
        name
        for name in ("age", "bytes", "messages")
        if (new := getattr(wanted, name)) and not 0 < getattr(has, name) <= new
    ]
    if smaller and not allow_loss:
        raise Unsupported(
            f"a smaller limit of {', '.join(smaller)} can remove events:"
            " add --allow-loss to allow it"
        )


async def _check_events(broker: KeptBroker, step: Step, events: int) -> Step:
    if step.state is None or not events:
        return step
    errors = await unreadable(broker, step.topic, step.state, count=events)
    if not errors:
        return step
    return Step(
        topic=step.topic, action="unreadable", details=(*step.details, *errors), state=step.state
    )


async def _plan(
    settings: Settings, wanted: list[Topic[Any]], services: list[Service]
) -> list[Step]:
    used = UsedPositions(services)
    async with kept_broker(settings) as broker:
        steps = await plan_topics(broker, wanted)
    return [replace(step, unused=_unused(step, used)) for step in steps]


def _unused(step: Step, used: UsedPositions) -> tuple[str, ...]:
    names = [each.durable for each in step.state.positions] if step.state is not None else []
    return tuple(name for name in names if used.is_unused(step.topic.name, name))


async def _apply(settings: Settings, wanted: list[Topic[Any]], allow_loss: bool) -> list[Step]:
    async with kept_broker(settings) as broker:
        return await apply_topics(broker, wanted, allow_loss=allow_loss)


async def _check(settings: Settings, wanted: list[Topic[Any]], events: int) -> list[Step]:
    async with kept_broker(settings) as broker:
        return await check_topics(broker, wanted, events=events)


async def _forget(settings: Settings, topic: str, durable: str, *, yes: bool) -> None:
    async with kept_broker(settings) as broker:
        position = find_position(await broker.describe(topic), durable)
        left = position.waiting + position.unsettled
        confirm(f"{durable!r} of {topic!r} has {left} events to handle. Forget it?", yes=yes)
        await broker.forget(topic, durable)
    say(f"forgot {durable!r} of {topic!r}, which had {left} events to handle")


def _show(steps: Sequence[Step], *, as_object: bool) -> None:
    if as_object or not on_terminal():
        click.echo(as_json([step.fields() for step in steps]))
        return
    rows = [(step.topic.name, step.action, "; ".join(step.details)) for step in steps]
    click.echo(table(("TOPIC", "ACTION", "DETAILS"), rows))
    positions = [row for step in steps for row in _position_rows(step)]
    if positions:
        head = ("TOPIC", "DURABLE", "WAITING", "UNSETTLED", "IN CODE")
        click.echo("\n" + table(head, positions))


def _position_rows(step: Step) -> list[tuple[str, ...]]:
    topic = step.topic.name
    return [
        (
            topic,
            each.durable,
            str(each.waiting),
            str(each.unsettled),
            f"no: micro topics forget {topic} {each.durable}"
            if each.durable in step.unused
            else "-",
        )
        for each in (() if step.state is None else step.state.positions)
    ]
