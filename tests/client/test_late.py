"""Calls that end at their deadlines: what is logged, and what their callers are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from micro import DeadlineExceeded, Service
from tests.engine import Gauge, running


@pytest.fixture
def slow() -> Service:
    service, gauge = Service("points", id="one"), Gauge()

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    return service


async def test_the_error_names_the_call_the_node_and_the_time(slow: Service) -> None:
    async with running(slow) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.call("points", "Points.Wait", timeout=0.05)

    assert "points Points.Wait (node points-one), after 0.0" in caught.value.detail


async def test_a_late_call_is_logged_once_with_its_trace(
    slow: Service, caplog: pytest.LogCaptureFixture
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with running(slow) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call("points", "Points.Wait", timeout=0.05, headers=headers)
    (line,) = [r.getMessage() for r in caplog.records if r.name == "micro.client"]

    assert "points Points.Wait (node points-one)" in line
    assert trace in line


async def test_many_late_calls_write_a_few_lines(
    slow: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(slow) as client:
        calls = (client.call("points", "Points.Wait", timeout=0.05) for _ in range(200))
        with caplog.at_level(logging.WARNING, "micro.client"):
            results = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(result, DeadlineExceeded) for result in results)
    assert sum(record.name == "micro.client" for record in caplog.records) <= 2


@pytest.mark.parametrize("reads", [True, False])
async def test_a_late_stream_is_logged_and_named(
    slow: Service, caplog: pytest.LogCaptureFixture, reads: bool
) -> None:
    @slow.handler
    async def watch() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    async with running(slow) as client:
        with pytest.raises(DeadlineExceeded):
            async with client.stream("points", "Points.Watch", None, int, timeout=0.05) as stream:
                await (stream.receive() if reads else asyncio.Event().wait())
    (line,) = [r.getMessage() for r in caplog.records if r.name == "micro.client"]

    assert "points Points.Watch (node points-one), after 0.0" in line


async def test_an_error_of_the_blocks_own_is_no_late_stream(
    slow: Service, caplog: pytest.LogCaptureFixture
) -> None:
    @slow.handler
    async def watch() -> AsyncIterator[int]:
        yield 1

    mine = DeadlineExceeded("of something else")
    async with running(slow) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            async with client.stream("points", "Points.Watch", None, int, timeout=30):
                raise mine

    assert caught.value is mine
    assert not [r for r in caplog.records if r.name == "micro.client"]
