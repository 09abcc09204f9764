"""Streams and handlers of a service that stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from micro import Context, MemoryBackend, Service, Unavailable
from tests.engine import Gauge


@pytest.fixture
async def gauge() -> Gauge:
    return Gauge()


def stream_service(gauge: Gauge) -> Service:
    service = Service("points", settings={"shutdown_timeout": 20})

    @service.handler
    async def silent() -> AsyncIterator[int]:
        yield 1
        await gauge.wait()

    @service.handler
    async def read(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield number

    @service.handler
    async def endless() -> AsyncIterator[int]:
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(0)

    @service.handler
    async def polite(ctx: Context) -> AsyncIterator[str]:
        yield "first"
        await ctx.stopped()
        yield "last" if ctx.stopping else "?"

    return service


@pytest.mark.parametrize(("endpoint", "bound"), [("Silent", 3.0), ("Read", 2.0), ("Endless", 6.0)])
async def test_a_stream_that_does_not_end_is_ended_early(
    gauge: Gauge, endpoint: str, bound: float
) -> None:
    network = MemoryBackend()
    async with Service("caller").running(network) as client:
        async with stream_service(gauge).running(network):
            stream = client.stream("points", f"Points.{endpoint}", 1, int, timeout=None)
            opened = await stream.__aenter__()
            if endpoint == "Read":
                await opened.send(1)
            assert await opened.receive() in (0, 1)
            before = time.monotonic()
        took = time.monotonic() - before

        with pytest.raises(Unavailable, match="stopped first"):
            async for _ in opened:
                pass
        await stream.__aexit__(None, None, None)

    assert took < bound


async def test_a_handler_learns_that_its_service_stops(gauge: Gauge) -> None:
    network = MemoryBackend()
    async with Service("caller").running(network) as client:
        async with stream_service(gauge).running(network):
            stream = client.stream("points", "Points.Polite", None, str, timeout=None)
            opened = await stream.__aenter__()
            assert await opened.receive() == "first"
        rest = [item async for item in opened]
        await stream.__aexit__(None, None, None)

    assert rest == ["last"]
