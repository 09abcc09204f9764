from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from micro import MemoryBackend, NotFound, Service, Topic
from micro.backend import Backend
from micro.client import Client
from micro.telemetry.metrics import MetricKind, Metrics

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def points() -> Service:
    service = Service("points")

    @service.handler
    async def award(points: int) -> int:
        return 1 // points

    @service.subscriber("orders")
    async def on_order(event: int) -> None:
        raise ValueError(event)

    return service


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[Client]:
    async with service.running(MemoryBackend()) as client:
        yield client


async def test_a_service_shows_what_its_server_and_client_have_counted() -> None:
    service = points()

    async with running(service) as client:
        await client.call("points", "Points.Award", 1)
        with pytest.raises(NotFound):
            await client.call("points", "Points.Missing", retries=0)

    assert service.metrics["micro.server.handled"] == 1
    assert service.metrics["micro.client.calls"] == 2


async def test_values_of_one_name_are_added_and_told_apart_by_attributes() -> None:
    service = points()

    async with running(service):
        await service.publish("orders", 1)
        await service.publish("orders", 2)
    failed = [s for s in service.metrics.samples() if s.name == "micro.subscriber.failed"]

    assert [(s.attributes, s.value) for s in failed] == [({"subscriber": "OnOrder"}, 2)]
    assert service.metrics["micro.subscriber.failed"] == 2
    assert service.metrics["micro.publisher.published"] == 2


async def test_counting_goes_on_in_a_second_run() -> None:
    service = points()

    for _ in range(2):
        async with running(service) as client:
            await client.call("points", "Points.Award", 1)

    assert service.metrics["micro.server.handled"] == 2


async def test_a_backend_adds_its_own_counters_which_outlast_it() -> None:
    class Counting(MemoryBackend):
        def counters(self) -> Mapping[str, int]:
            return {"mine.oddities": 3}

    service = points()
    backend: Backend = Counting()

    async with service.running(backend):
        assert service.metrics["mine.oddities"] == 3

    assert service.metrics["mine.oddities"] == 3


def test_a_gauge_is_read_on_demand_and_ends_with_its_block() -> None:
    metrics = Metrics()
    with (
        metrics.observe(lambda: {"lag": 2.0}, MetricKind.MAXIMUM),
        metrics.observe(lambda: {"lag": 1.0}, MetricKind.MAXIMUM),
    ):
        assert metrics["lag"] == 2.0

    assert "lag" not in metrics


async def test_the_guide_lists_every_metric() -> None:
    service = points()

    @service.subscriber(Topic("metrics.kept", int, keep="1d"), durable=True)
    async def on_kept(event: int) -> None: ...

    table = (
        OPERATIONS.read_text().partition("<!-- metrics -->")[2].partition("<!-- /metrics -->")[0]
    )
    listed = set(re.findall(r"^\| `([a-z_.]+)`", table, re.MULTILINE))

    async with running(service):
        shown = set(service.metrics)

    # The watchdog watches the loop of a process, not of one service.
    assert listed - {"micro.watchdog.stalls"} == shown
