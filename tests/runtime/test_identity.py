"""Log lines of a service carry its identity."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from micro import MemoryBackend, Service
from micro.telemetry.logs import JsonFormatter


@pytest.fixture
def lines():
    """What is logged under `micro` and `app`, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    loggers = [logging.getLogger("micro"), logging.getLogger("app")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel("INFO")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for logger, level in zip(loggers, before, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


def service_named(name, version):
    service = Service(name, version=version, settings={"server_id": "one"})

    @service.handler
    async def hello() -> None:
        logging.getLogger("app").info("in %s", name)

    @service.subscriber("events")
    async def on_event() -> None:
        logging.getLogger("app").info("event in %s", name)
        handled.set()

    handled = asyncio.Event()
    return service, handled


async def test_lines_of_start_stop_handlers_and_subscribers_say_which_node_it_was(lines) -> None:
    network = MemoryBackend()
    points, points_done = service_named("points", "1.0.0")
    orders, orders_done = service_named("orders", "2.0.0")
    async with points.running(network), orders.running(network) as client:
        await client.call("points", "Points.Hello")
        await client.call("orders", "Orders.Hello")
        await client.publish("events", None)
        await points_done.wait()
        await orders_done.wait()

    found = {
        (line["message"].split()[-1], line["service"], line["version"], line["node"])
        for line in lines()
        if line["logger"] == "app"
    }
    assert found == {
        ("points", "points", "1.0.0", "points-one"),
        ("orders", "orders", "2.0.0", "orders-one"),
    }
    stopped = [line for line in lines() if line["message"].endswith(" stopped")]
    assert [line["node"] for line in stopped] == ["orders-one", "points-one"]
