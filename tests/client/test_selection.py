"""Which node gets a call, and whether it may run again: the record of each node decides."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from micro import Context, MemoryBackend, NotFound, Service, ServiceUnavailable, Unavailable, Where
from tests.engine import running


def version(number: int, ran: Counter[str], *, idempotent: bool = False, new: bool = False):
    """An instance of one version, whose `Points.Get` always fails."""
    name = f"v{number}"
    service = Service("points", id=name, version=f"{number}.0.0")

    @service.handler("Points.Get", idempotent=idempotent)
    async def get() -> str:
        ran[name] += 1
        raise Unavailable("no")

    if new:

        @service.handler("Points.New")
        async def only_new() -> str:
            return name

    return service


def caller(node: str) -> Service:
    """A client that asks the node with this id first."""
    return Service(
        "caller", strategy=lambda nodes: min(nodes, key=lambda each: each.node.id != node)
    )


@pytest.mark.parametrize(("first", "runs"), [("points-v1", 3), ("points-v2", 1)])
async def test_the_record_of_the_node_that_was_tried_decides_about_a_second_run(
    first: str, runs: int
) -> None:
    ran: Counter[str] = Counter()
    versions = version(1, ran, idempotent=True), version(2, ran)
    async with running(*versions, caller(first)) as client:
        where = Where(node=first)
        with pytest.raises(Unavailable):
            await client.call("points", "Points.Get", where=where)

    assert ran == {first.removeprefix("points-"): runs}


async def test_a_failed_call_is_not_repeated_because_another_version_allows_it() -> None:
    ran: Counter[str] = Counter()
    versions = version(1, ran, idempotent=True), version(2, ran)
    async with running(*versions, caller("points-v2")) as client:
        with pytest.raises(Unavailable):
            await client.call("points", "Points.Get")

    assert ran == {"v2": 1}


async def test_a_call_goes_to_nodes_that_list_its_endpoint() -> None:
    ran: Counter[str] = Counter()
    async with running(version(1, ran), version(2, ran, new=True), Service("caller")) as client:
        call = client.call
        answers = {await call("points", "Points.New", None, str, retries=0) for _ in range(50)}

    assert answers == {"v2"}


async def test_an_endpoint_that_no_record_lists_is_asked_for_at_the_nodes() -> None:
    ran: Counter[str] = Counter()
    async with running(version(1, ran), version(2, ran), Service("caller")) as client:
        with pytest.raises(NotFound, match=r"Points\.Nothing"):
            await client.call("points", "Points.Nothing", timeout=2.0)


async def test_a_service_without_nodes_is_unavailable_and_not_not_found() -> None:
    async with running(Service("caller")) as client:
        with pytest.raises(ServiceUnavailable, match="no node serves 'points'") as caught:
            await client.call("points", "Points.Get")

    assert (caught.value.code, caught.value.refused) == (503, True)
    assert not isinstance(caught.value, NotFound)


async def test_an_unknown_service_is_not_reported_while_the_registry_is_out_of_reach() -> None:
    network = MemoryBackend()
    async with running(Service("caller"), backend=network) as client:
        with pytest.raises(ServiceUnavailable):
            await client.call("points", "Points.Get")
        network.registry._closed = True
        with pytest.raises(Unavailable, match="registry cannot be asked") as caught:
            await client.call("points", "Points.Get")
        network.registry._closed = False

    assert not isinstance(caught.value, ServiceUnavailable)


async def test_the_client_says_which_nodes_it_knows() -> None:
    ran: Counter[str] = Counter()
    async with running(version(1, ran), version(2, ran, new=True), Service("caller")) as client:
        assert client.nodes("points") == ()
        await client.call("points", "Points.New")
        one, two = client.nodes("points")

    assert (one.id, one.version, two.version) == ("points-v1", "1.0.0", "2.0.0")
    assert two.endpoints == {"Points.Get", "Points.New"}
    assert (two.native, two.in_flight, two.breaker, two.answered) == (True, 0, "closed", True)


@pytest.mark.parametrize("kind", ["unary", "stream", "subscriber"])
async def test_a_background_task_keeps_no_deadline_of_a_handler_that_has_ended(kind: str) -> None:
    service, go, done = Service("points"), asyncio.Event(), asyncio.get_running_loop()
    results: asyncio.Future[list[str]] = done.create_future()
    tasks: list[asyncio.Task[None]] = []

    async def later() -> None:
        await go.wait()
        call = service.client.call
        results.set_result(
            [
                await call("points", "Points.Pong", None, str),
                await call("points", "Points.Pong", None, str, timeout=5),
            ]
        )

    @service.handler
    async def start() -> None:
        tasks.append(asyncio.ensure_future(later()))

    @service.handler
    async def start_stream() -> AsyncIterator[int]:
        tasks.append(asyncio.ensure_future(later()))
        yield 1

    @service.subscriber("started", timeout=0.05)
    async def on_started(event: int) -> None:
        tasks.append(asyncio.ensure_future(later()))

    @service.handler
    async def pong() -> str:
        return "pong"

    async with running(service) as client:
        if kind == "unary":
            await client.call("points", "Points.Start", timeout=0.05)
        elif kind == "stream":
            async with client.stream("points", "Points.StartStream", timeout=0.05) as stream:
                await stream.receive()
        else:
            await client.publish("started", 1)
        done.call_later(0.06, go.set)

        assert await asyncio.wait_for(results, 5) == ["pong", "pong"]


async def test_a_handlers_deadline_holds_in_the_tasks_it_waits_for() -> None:
    service = Service("points")

    @service.handler
    async def outer() -> list[float]:
        return await asyncio.gather(
            *(service.client.call("points", "Points.Left", None, float) for _ in range(2))
        )

    @service.handler
    async def left(ctx: Context) -> float:
        return ctx.remaining() or 0.0

    async with running(service) as client:
        answers = await client.call("points", "Points.Outer", None, list[float], timeout=0.5)

    assert all(0 < answer < 0.5 for answer in answers)
