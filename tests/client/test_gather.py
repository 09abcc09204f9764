"""Several calls at once."""

from __future__ import annotations

import asyncio

import pytest

from micro import Client, Context, NotFound, Service
from micro.errors import DeadlineExceeded, UsageError
from tests.engine import Gauge, running

pytestmark = pytest.mark.both_loops


class World:
    """A service with a handler that answers, one that fails and one that waits."""

    def __init__(self) -> None:
        self.service = Service("points")
        self.gauge = Gauge()

        @self.service.handler
        async def double(request: int) -> int:
            return 2 * request

        @self.service.handler
        async def fail(request: int) -> int:
            raise NotFound(f"no {request}")

        @self.service.handler
        async def wait() -> int:
            await self.gauge.wait()
            return 7


def double(client: Client, number: int):
    return client.call("points", "Points.Double", number, int)


def fail(client: Client):
    return client.call("points", "Points.Fail", 5, int)


def wait(client: Client, **options):
    return client.call("points", "Points.Wait", None, int, **options)


async def test_results_come_in_the_order_of_the_calls() -> None:
    world = World()
    async with running(world.service) as client:
        waiting = asyncio.ensure_future(client.gather(wait(client), double(client, 1)))
        await world.gauge.until(started=1)
        world.gauge.go.set()

        assert await waiting == (7, 2)
        assert await client.gather(*(double(client, n) for n in range(50))) == tuple(
            range(0, 100, 2)
        )
        assert await client.gather() == ()


async def test_the_first_error_cancels_the_other_calls() -> None:
    world = World()
    async with running(world.service) as client:
        waiting = wait(client, timeout=None)

        async def fail_later() -> int:
            await world.gauge.until(started=1)
            return await fail(client)

        with pytest.raises(NotFound, match="no 5"):
            await asyncio.wait_for(client.gather(waiting, fail_later()), 5)
        await world.gauge.until(cancelled=1)


async def test_errors_may_stand_in_place_of_results() -> None:
    async with running(World().service) as client:
        error, value = await client.gather(fail(client), double(client, 2), fail_fast=False)

    assert isinstance(error, NotFound)
    assert value == 4


async def test_a_mistake_of_the_program_is_raised_in_any_case() -> None:
    async def mistake() -> int:
        raise ZeroDivisionError

    async with running(World().service) as client:
        with pytest.raises(ZeroDivisionError):
            await client.gather(mistake(), double(client, 1), fail_fast=False)


async def test_leaving_early_cancels_every_call() -> None:
    world = World()
    async with running(world.service) as client:
        calls = [wait(client, timeout=None) for _ in range(3)]
        gathering = asyncio.ensure_future(client.gather(*calls))
        await world.gauge.until(started=3)
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        await world.gauge.until(cancelled=3)


async def test_the_handlers_deadline_holds_for_each_call() -> None:
    world = World()

    @world.service.handler
    async def outer() -> int:
        client = world.service.client
        errors = await client.gather(wait(client), wait(client), fail_fast=False)
        return sum(isinstance(error, DeadlineExceeded) for error in errors)

    async with running(world.service) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call("points", "Points.Outer", None, int, timeout=0.1)
        await world.gauge.until(cancelled=2)


async def test_what_is_no_call_is_refused_and_no_call_begins() -> None:
    world = World()
    async with running(world.service) as client:
        with pytest.raises(UsageError, match="got 5"):
            await client.gather(double(client, 1), 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("layered", [False, True])
async def test_a_call_tells_the_headers_of_its_answer(layered: bool) -> None:
    async def layer(request, next):
        return await next(request)

    service = Service("points", client_middleware=[layer] if layered else [])

    @service.handler
    async def get(request: int, ctx: Context) -> int:
        ctx.reply_headers["zone"] = "a"
        if not request:
            raise NotFound("none")
        return request

    async with running(service) as client:
        headers: dict[str, str] = {}
        await client.call("points", "Points.Get", 1, int, reply_headers=headers)
        assert headers == {"zone": "a"}
        empty: dict[str, str] = {}
        with pytest.raises(NotFound):
            await client.call("points", "Points.Get", 0, int, reply_headers=empty)
        assert empty == {}
        with pytest.raises(TypeError, match="reply_headers"):
            await client.call("points", "Points.Get", 1, int, reply_headers=[])  # type: ignore[arg-type]
