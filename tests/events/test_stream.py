"""Subscriptions of a client at run time, over memory and NATS, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from micro import Client, MemoryBackend, Service, Topic, load_settings
from micro.codec import Raw
from micro.concurrency.budget import process_budget
from micro.errors import CodecError, InvalidName, UsageError
from micro_nats import run_server
from tests.engine import ANN, Award, running, until

pytestmark = pytest.mark.both_loops

awarded = Topic("points.awarded", Award)


@asynccontextmanager
async def over_memory() -> AsyncIterator[Client]:
    async with running(Service("reader")) as client:
        yield client


@asynccontextmanager
async def over_nats() -> AsyncIterator[Client]:
    async with run_server() as server:
        settings = load_settings(["--transport-address", server.address], {})
        async with Service("reader").running(settings=settings) as client:
            yield client


def award(points: int) -> Award:
    return Award(user="ann", points=points)


@pytest.mark.parametrize("network", [over_memory, over_nats])
async def test_a_subscription_reads_events_in_order_and_ends_with_its_block(network) -> None:
    async with network() as client:
        async with client.subscribe(awarded) as events:
            for points in range(100):
                await client.publish(awarded, award(points))
            async with asyncio.timeout(5):
                got = [await anext(events) for _ in range(100)]
        await client.publish(awarded, ANN)
        await client.flush()

        assert [event.points for event in got] == list(range(100))
        assert [event async for event in events] == []


@pytest.mark.parametrize("network", [over_memory, over_nats])
async def test_a_full_subscription_drops_the_newest_and_counts_it(network, caplog) -> None:
    held = process_budget().held
    async with network() as client:
        async with client.subscribe(awarded, max_queue=10) as events:
            for points in range(25):
                await client.publish(awarded, award(points))
            await client.flush()
            await until(lambda: events.dropped == 15)
            async with asyncio.timeout(5):
                got = [(await anext(events)).points for _ in range(10)]
                await client.publish(awarded, award(99))
                assert (await anext(events)).points == 99
        assert got == list(range(10))
        assert client.options.metrics["micro.subscriber.dropped"] == 15
    assert "the reader of points.awarded is too slow" in caplog.text
    assert process_budget().held == held


@pytest.mark.parametrize("network", [over_memory, over_nats])
async def test_one_of_a_queue_gets_each_event(network) -> None:
    async with (
        network() as client,
        client.subscribe(awarded, queue="desk") as one,
        client.subscribe(awarded, queue="desk") as other,
    ):
        for points in range(20):
            await client.publish(awarded, award(points))
        await client.flush()
        got: list[int] = []

        async def read(events) -> None:
            async for event in events:
                got.append(event.points)  # noqa: PERF401  what was read so far counts

        tasks = [asyncio.ensure_future(read(each)) for each in (one, other)]
        await until(lambda: len(got) == 20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert sorted(got) == list(range(20))


async def test_an_event_that_cannot_be_read_is_left_out_and_counted(caplog) -> None:
    async with over_memory() as client, client.subscribe(awarded) as events:
        await client.publish("points.awarded", Raw(b'{"user": 5}'))
        await client.publish(awarded, ANN)

        assert await anext(events) == ANN
        assert events.failed == 1
    assert "an event of points.awarded cannot be read" in caplog.text


async def test_a_pattern_tells_the_topic_of_each_event() -> None:
    async with over_memory() as client, client.subscribe("points.*", Award) as events:
        await client.publish(awarded, ANN, headers={"zone": "a"})
        await anext(events)

        assert events.context is not None
        assert (events.context.topic, events.context.headers["zone"]) == ("points.awarded", "a")


async def test_a_cancelled_wait_loses_no_event() -> None:
    async with over_memory() as client, client.subscribe(awarded) as events:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(events)
        await client.publish(awarded, ANN)

        assert await anext(events) == ANN


async def test_an_iteration_that_waits_ends_when_the_block_ends() -> None:
    async with over_memory() as client:
        async with client.subscribe(awarded) as events:
            reader = asyncio.ensure_future(anext(events, None))
            await asyncio.sleep(0)

        assert await asyncio.wait_for(reader, 5) is None


@pytest.mark.parametrize("max_queue", [0, -1, 1.5, True, None])
async def test_a_bound_that_makes_no_sense_is_refused(max_queue) -> None:
    async with over_memory() as client:
        with pytest.raises(UsageError, match="max_queue"):
            async with client.subscribe(awarded, max_queue=max_queue):
                raise AssertionError("it was accepted")


async def test_a_type_and_a_topic_that_cannot_be_used_are_refused() -> None:
    async with over_memory() as client:
        with pytest.raises(CodecError):
            async with client.subscribe("a", type(lambda: 0)):
                raise AssertionError("it was accepted")
        with pytest.raises(InvalidName):
            async with client.subscribe("a..b"):
                raise AssertionError("it was accepted")


async def test_a_subscription_of_a_service_reads_what_another_publishes() -> None:
    network = MemoryBackend()
    async with (
        Service("points").running(network) as points,
        Service("desk").running(network) as desk,
        desk.subscribe(awarded) as events,
    ):
        await points.publish(awarded, ANN)

        assert await anext(events) == ANN
