"""Calls that end at their deadlines: what is logged, and what their callers are told."""

from __future__ import annotations

import asyncio
import logging

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
