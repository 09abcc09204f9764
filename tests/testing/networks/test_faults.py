"""Faults and partitions that a test puts into its network."""

from __future__ import annotations

import time

import pytest

from micro import Conflict, ConnectionLost, DeadlineExceeded, Service, Unavailable
from micro.errors import UsageError
from micro.scope import open_scope
from micro.testing import network
from tests.testing.networks.services import Award, Points, awards

ANN = Award(user="ann", points=3)


async def award(client, **options) -> int:
    return await client.call("points", "Points.Award", ANN, int, **options)


async def test_a_fault_fails_as_many_calls_as_it_says() -> None:
    points = Points()
    async with network() as net:
        await net.start(points.service)
        fault = net.fault("points.Points.Award", error=Conflict("not today"), times=2)

        for _ in range(2):
            with pytest.raises(Conflict, match="not today"):
                await award(net.client)
        assert await award(net.client) == 3
        assert fault.hits == 2


async def test_a_fault_of_a_service_hits_all_its_endpoints_until_its_block_ends() -> None:
    points = Points()
    async with network() as net:
        await net.start(points.service)
        down = net.fault(points.service, error=Unavailable("down"))
        with down, pytest.raises(Unavailable, match="down"):
            await award(net.client, retries=0)

        assert await award(net.client) == 3


async def test_a_dropped_call_gets_no_answer() -> None:
    points = Points()
    async with network() as net:
        await net.start(points.service)
        net.fault("points.Points.Award", drop=True, times=1)

        with pytest.raises(DeadlineExceeded):
            await award(net.client, timeout=0.05)
        assert await award(net.client) == 3


async def test_a_delayed_call_is_slow_in_real_time() -> None:
    points = Points()
    async with network(clock="virtual") as net:
        await net.start(points.service)
        net.fault("points.Points.Award", delay="60ms")
        began = time.monotonic()

        assert await award(net.client) == 3
        assert time.monotonic() - began >= 0.06


async def test_a_fault_of_a_topic_fails_publish_or_loses_the_event() -> None:
    points = Points()
    async with network() as net:
        await net.start(points.service)
        heard = net.listen(awards)
        net.fault(awards, error=ConnectionLost("no broker"), times=1)
        with pytest.raises(ConnectionLost, match="no broker"):
            await net.publish(awards, ANN)
        net.fault("points.*", drop=True, times=1)
        await net.publish(awards, ANN)
        await net.settled()

        assert points.handled == []
        assert heard.events == [ANN]


async def test_a_delayed_event_comes_when_the_clock_is_advanced() -> None:
    points = Points()
    async with network(clock="virtual") as net:
        await net.start(points.service)
        net.fault(awards, delay="2m")
        began = net.now
        await net.publish(awards, ANN)
        await net.advance("119s")
        assert points.handled == []
        await net.advance("1s")

        assert points.handled == [ANN]
        assert net.now - began == 120


async def test_a_fault_at_a_service_takes_the_place_of_its_handler(caplog) -> None:
    points, other = Points(), Service("other")
    seen = []

    @other.subscriber(awards)
    async def see(award: Award) -> None:
        seen.append(award)

    async with network() as net:
        await net.start(points.service)
        await net.start(other)
        net.fault(awards, at="points", error=OSError("no disk"))
        await net.publish(awards, ANN)
        await net.settled()

    assert points.handled == []
    assert seen == [ANN]
    assert "no disk" in caplog.text


@pytest.mark.both_loops
async def test_nothing_passes_a_partition_until_it_ends() -> None:
    points = Points()
    async with network() as net:
        _, two = await net.start(points.service, replicas=2)
        assert await award(net.client) == 3
        async with net.partition(net.client, points.service):
            with pytest.raises(DeadlineExceeded):
                await award(net.client, timeout=0.05)
        handled = len(net.calls(points.service))
        assert await award(two.client) == 3
        assert await award(net.client) == 3

    assert handled <= 1


async def test_a_partition_divides_two_parts_and_no_others() -> None:
    points, orders = Points(), Service("orders")
    async with network() as net:
        await net.start(points.service)
        (order,) = await net.start(orders)
        async with net.partition("orders", "points"):
            assert await award(net.client) == 3
            with pytest.raises(DeadlineExceeded):
                await award(order.client, timeout=0.05)


async def test_a_call_that_a_partition_cut_ends_with_an_error_when_it_ends() -> None:
    points = Points()
    async with network() as net, open_scope() as scope:
        await net.start(points.service)
        held = scope.start(_outcome(net.client.call("points", "Points.Hold", None, str)))
        await points.running.wait()
        async with net.partition(net.client, "points"):
            points.gate.set()
            with pytest.raises(AssertionError, match=r"not settled .* test waits for points\.Poi"):
                await net.settled(0.05)

        assert isinstance(await held, ConnectionLost)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda net: net.fault("points.Points.Award"), "does nothing: give it error="),
        (lambda net: net.fault("points.Points.Awrd", drop=True), r"did you mean 'points\.Poi"),
        (lambda net: net.fault("x", error=Conflict), r"write error=Conflict\("),
        (lambda net: net.fault("x", error="no"), "must be an exception"),
        (lambda net: net.fault("x", delay="soon"), "delay='50ms'"),
        (lambda net: net.fault("x", drop=True, times=0), "times must be at least 1"),
        (lambda net: net.fault("x", drop=True, error=Conflict("a")), "not both"),
        (lambda net: net.fault("shop.Shop.Buy", drop=True), "start its service first"),
        (lambda net: net.fault("x", drop=True, at="pints"), "did you mean 'points'"),
        (lambda net: net.calls("points.Award"), "did you mean"),
    ],
)
async def test_misuse_says_what_to_write(use, text) -> None:
    async with network() as net:
        await net.start(Points().service)
        with pytest.raises(UsageError, match=text):
            use(net)


async def test_a_partition_of_an_unknown_part_is_refused() -> None:
    async with network() as net:
        await net.start(Points().service)
        with pytest.raises(UsageError, match="did you mean 'points'"):
            async with net.partition("point", net.client):
                pass


async def _outcome(call) -> object:
    try:
        return await call
    except Exception as error:
        return error
