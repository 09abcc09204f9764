"""Durable subscribers over a real nats-server that stores in files."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import micro.events.settling
from micro import (
    Client,
    Context,
    Later,
    Reject,
    Retry,
    Service,
    Settings,
    Topic,
    Unavailable,
    load_settings,
)
from micro.broker.kept import KeptBroker
from micro.errors import TransportError
from micro.events.deadletter import DeadLetter, dead_letters, drop_dead, replay_dead
from micro_nats.devserver import NatsServer, run_server
from tests.engine import ANN, Award
from tests.events.inbox import Inbox

pytestmark = pytest.mark.both_loops


@pytest.fixture
def settings(jetstream_server: NatsServer) -> Settings:
    address = jetstream_server.address
    return load_settings(["--broker_address", address], {})


@pytest.fixture
def created() -> Topic[Award]:
    """A topic that no other test uses."""
    return Topic(f"durable.{uuid.uuid4().hex}", Award, keep="1h")


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


@asynccontextmanager
async def running(settings: Settings, *services: Service) -> AsyncIterator[Client]:
    async with services[0].running(settings=settings) as client:
        if len(services) == 1:
            yield client
            return
        async with running(settings, *services[1:]) as last:
            yield last


def kept_broker(client: Client) -> KeptBroker:
    assert isinstance(client.broker, KeptBroker)
    return client.broker


async def dead(client: Client, topic: Topic[Award], count: int) -> list[DeadLetter]:
    async with asyncio.timeout(10):
        broker = kept_broker(client)
        while len(found := await dead_letters(broker, topic=topic.name)) != count:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
    return found


async def test_what_was_stored_before_the_start_is_handled_once(settings, created, inbox) -> None:
    points = Service("points")

    @points.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add((ctx.id, ctx.attempt))

    async with running(settings, Service("shop")) as client:
        receipt = await client.publish(created, ANN, id="a")
        again = await client.publish(created, ANN, id="a")
    async with running(settings, points):
        await inbox.until(1)
    async with running(settings, points) as client:
        await client.publish(created, ANN, id="b")
        await inbox.until(2)

    assert (receipt.stored, receipt.duplicate, again.duplicate) == (True, False, True)
    assert inbox.events == [("a", 1), ("b", 1)]


async def test_attempts_count_over_instances(settings, created, inbox) -> None:
    def instance() -> Service:
        points = Service("points")

        @points.subscriber(created, durable=True, retry=Retry(*[0.05] * 5))
        async def on_order(event: Award, ctx: Context) -> None:
            inbox.add(ctx.attempt)
            raise ValueError("no")

        return points

    async with running(settings, instance(), instance(), instance()) as client:
        await client.publish(created, ANN)
        (letter,) = await dead(client, created, 1)

    assert inbox.events == [1, 2, 3, 4, 5, 6]
    assert (letter.reason, letter.attempts) == ("exhausted", 6)


async def test_a_long_wait_is_a_copy_for_this_durable_only(
    settings, created, inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro.events.settling, "MAX_NACK_SECONDS", 0.0)
    points, mail = Service("points"), Service("mail")

    @points.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(("points", ctx.id, ctx.attempt, ctx.sequence))
        if len(inbox.events) < 4:
            raise Later(0.2) if ctx.attempt > 1 else ValueError("no")

    @mail.subscriber(created, durable=True)
    async def on_mail(event: Award, ctx: Context) -> None:
        inbox.add(("mail", ctx.id, ctx.attempt, ctx.sequence))

    async with running(settings, points, mail) as client:
        receipt = await client.publish(created, ANN, id="a")
        await inbox.until(4)

    assert inbox.events.count(("mail", "a", 1, receipt.sequence)) == 1
    assert [e for e in inbox.events if e != ("mail", "a", 1, receipt.sequence)] == [
        ("points", "a", attempt, receipt.sequence) for attempt in (1, 2, 2)
    ]


async def test_a_dead_letter_is_replayed_to_the_durable_that_failed(
    settings, created, inbox
) -> None:
    points, mail = Service("points"), Service("mail")
    broken = True

    @points.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        if broken:
            raise Reject("an unknown user")
        inbox.add(("points", ctx.id, event))

    @mail.subscriber(created, durable=True)
    async def on_mail(event: Award, ctx: Context) -> None:
        inbox.add(("mail", ctx.id, event))

    async with running(settings, points, mail) as client:
        await client.publish(created, ANN, id="a")
        (letter,) = await dead(client, created, 1)
        await inbox.until(1)
        broken = False
        await replay_dead(kept_broker(client), letter.key)
        await inbox.until(2)
        await dead(client, created, 0)

    assert inbox.events == [("mail", "a", ANN), ("points", "a", ANN)]


async def test_a_dropped_dead_letter_leaves_no_payload(settings, created) -> None:
    points = Service("points")

    @points.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        raise Reject("no")

    async with running(settings, points) as client:
        await client.publish(created, ANN)
        (letter,) = await dead(client, created, 1)
        await drop_dead(kept_broker(client), letter.key)
        broker = kept_broker(client)
        last = (await broker.describe("dead")).last_sequence
        async with broker.read("dead", start=letter.place, end=last) as records:
            left = [record.message.body async for record in records if _is(record, letter)]

    assert left == [b""]


def _is(record, letter) -> bool:
    return record.message.headers.get("Micro-Dead-Key") == letter.key


async def test_a_server_without_jetstream_stops_a_service_with_no_other_work(created) -> None:
    points = Service("points")

    @points.subscriber(created, durable=True)
    async def on_order(event: Award) -> None: ...

    async with run_server() as server:
        settings = load_settings(["--broker_address", server.address], {})
        with pytest.raises(TransportError, match="JetStream is not switched on"):
            async with points.running(settings=settings):
                raise AssertionError("it must not start")

        @points.handler
        async def total() -> int:
            return 1

        async with points.running(settings=settings):
            with pytest.raises(Unavailable, match="durable points cannot read its events"):
                await points._runs.current("points").check()
