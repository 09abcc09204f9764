"""Services run in a test network, settle, and are killed."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from micro import ConnectionLost, Context, Service
from micro.errors import UsageError
from micro.scope import open_scope
from micro.testing import network
from tests.testing.networks.services import Award, Points, awards

ANN = Award(user="ann", points=3)


@pytest.mark.both_loops
async def test_a_call_reaches_a_service_and_its_event_a_subscriber() -> None:
    points = Points()
    async with network() as net:
        await net.start(points.service)

        assert await net.client.call("points", "Points.Award", ANN, int) == 3
        await net.settled()

    assert points.handled == [ANN]


async def test_one_service_runs_several_times_in_one_network() -> None:
    points = Points()
    async with network() as net:
        replicas = await net.start(points.service, replicas=3)
        for _ in range(30):
            await net.publish(awards, ANN)
            await net.client.call("points", "Points.Award", ANN, int)
        await net.settled()

        assert all(net.calls(replica) for replica in replicas)
        assert len(net.calls("points")) == 30
    assert len(points.handled) == 60


async def test_services_call_each_other_with_their_own_clients() -> None:
    points, orders = Points(), Service("orders")

    @orders.handler
    async def place(user: str) -> int:
        award = Award(user=user, points=7)
        return await orders.client.call("points", "Points.Award", award, int)

    async with network() as net:
        await net.start(orders, replicas=2)
        await net.start(points.service)

        assert await net.client.call("orders", "Orders.Place", "bob", int) == 7


class LimitSettings(BaseModel):
    most: int = 1


async def test_settings_of_a_start_win_over_those_of_the_code() -> None:
    service = Service("limits", settings={"server_version": "1"})
    limits = service.config(LimitSettings)

    @service.handler
    async def most() -> int:
        return limits.value.most

    async with network() as net:
        settings = {"server_version": "2", "limit": {"most": 5}}
        (one,) = await net.start(service, settings=settings)
        (record,) = await net.client.registry.get_service("limits")

        assert (record.version, record.nodes[0].id) == ("2", one.node)
        assert await net.client.call("limits", "Limits.Most", None, int) == 5


async def test_settling_waits_for_handlers_and_chains_of_events() -> None:
    service, seen = Service("chain"), []

    @service.subscriber("step")
    async def step(number: int) -> None:
        seen.append(number)
        if number < 50:
            await service.publish("step", number + 1)

    async with network() as net:
        await net.start(service)
        await net.publish("step", 1)
        await net.settled()

    assert seen == list(range(1, 51))


async def test_settling_ends_with_an_error_that_names_what_runs() -> None:
    points = Points()
    async with network() as net, open_scope() as scope:
        await net.start(points.service)
        scope.start(net.client.call("points", "Points.Hold", None, str))
        await points.running.wait()

        with pytest.raises(AssertionError, match=r"0\.05 s: .*Points\.Hold runs"):
            await net.settled(timeout="50ms")
        points.gate.set()
        await net.settled()


async def test_a_killed_replica_says_nothing_and_finishes_nothing() -> None:
    points = Points()
    async with network() as net:
        (one,) = await net.start(points.service)
        async with open_scope() as scope:
            held = scope.start(_outcome(net.client.call("points", "Points.Hold", None, str)))
            await points.running.wait()
            await net.kill(one)
            error = await held
        left = await net.client.registry.get_service("points")

    assert isinstance(error, ConnectionLost)
    assert not error.refused
    assert points.cancelled == 1
    assert [node.id for record in left for node in record.nodes] == [one.node]


async def test_the_node_of_a_killed_replica_is_forgotten_after_its_ttl() -> None:
    points = Points()
    async with network() as net:
        settings = {"register_ttl": 0.2, "register_interval": 0.05}
        (one,) = await net.start(points.service, settings=settings)
        await net.kill(one)

        async with asyncio.timeout(5), net.client.registry.watch("points") as nodes:
            assert [len(records) async for records in until_empty(nodes)] == [1]


async def test_a_kill_waits_for_no_handler() -> None:
    service, begun, ended = Service("slow"), asyncio.Event(), []

    @service.subscriber("work")
    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with network() as net:
        await net.start(service, settings={"shutdown_timeout": 60.0})
        await net.publish("work", None)
        await begun.wait()
        async with asyncio.timeout(5):
            await net.kill(service)

        assert ended == [True]


async def test_calls_and_events_go_to_the_replicas_that_were_not_killed() -> None:
    points = Points()
    async with network() as net:
        one, two = await net.start(points.service, replicas=2)
        await net.kill(one)
        for _ in range(20):
            await net.client.call("points", "Points.Award", ANN, int)
        await net.settled()

        assert len(net.calls(two)) == 20
        assert net.calls(one) == []
    assert len(points.handled) == 20


async def test_a_stopped_replica_leaves_the_registry() -> None:
    points = Points()
    async with network() as net:
        one, two = await net.start(points.service, replicas=2)
        await net.stop(one)
        (record,) = await net.client.registry.get_service("points")

        assert [node.id for node in record.nodes] == [two.node]
        assert (one.is_running, two.is_running) == (False, True)


async def test_a_start_that_fails_raises_its_own_error() -> None:
    service = Service("broken")

    @service.on_start
    async def fail() -> None:
        raise OSError("no disk")

    async with network() as net:
        with pytest.raises(OSError, match="no disk"):
            await net.start(service)


async def test_a_background_task_that_fails_stops_no_test(caplog) -> None:
    service = Service("tasks")

    @service.handler
    async def ping(ctx: Context) -> str:
        return ctx.service

    async def fail() -> None:
        raise RuntimeError("lost")

    service.start_task(fail, restart="never")
    async with network() as net:
        await net.start(service)
        assert await net.client.call("tasks", "Tasks.Ping", None, str) == "tasks"
    assert "lost" in caplog.text


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda net: net.start(Service), "write start"),
        (lambda net: net.start(Service("a"), replicas=0), "at least 1"),
        (lambda net: net.kill("a"), "'a' does not run"),
        (lambda net: net.advance("2m"), r"network\(clock='virtual'\)"),
    ],
)
async def test_misuse_says_what_to_write(use, text) -> None:
    async with network() as net:
        with pytest.raises(UsageError, match=text):
            await use(net)


async def until_empty(nodes):
    async for records in nodes:
        if not records:
            return
        yield records


async def _outcome(call) -> object:
    try:
        return await call
    except Exception as error:
        return error
