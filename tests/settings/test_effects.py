"""Settings reach the parts that they are for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from micro import Client, DeadlineExceeded, PayloadTooLarge, Service
from micro.concurrency.budget import process_budget
from micro.testing import Signal
from micro.wire.limits import MAX_BODY_BYTES, process_body_limit


async def test_server_timeout_ends_a_handler_whose_caller_set_no_limit() -> None:
    service = Service("points", settings={"server_timeout": "50ms"})

    @service.handler
    async def hang() -> None:
        await asyncio.Event().wait()

    async with service.running() as client:
        with pytest.raises(DeadlineExceeded):
            await client.call("points", "Points.Hang", timeout=None)


async def test_subscriber_max_concurrency_of_one_handles_events_in_turn() -> None:
    service = Service("points", settings={"subscriber_max_concurrency": 1})
    seen: asyncio.Queue[str] = asyncio.Queue()

    @service.subscriber("orders")
    async def on_order(number: int) -> None:
        await seen.put(f"begin {number}")
        await asyncio.sleep(0)
        await seen.put(f"end {number}")

    async with service.running() as client:
        await client.publish("orders", 1)
        await client.publish("orders", 2)

        order = [await seen.get() for _ in range(4)]
    assert order == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_threads_bounds_plain_handlers_that_run_at_once() -> None:
    service = Service("points", settings={"threads": 2})
    three_at_once = threading.Barrier(3)

    @service.handler
    def meet() -> bool:
        try:
            three_at_once.wait(0.1)
        except threading.BrokenBarrierError:
            return False
        return True

    async with service.running() as client, asyncio.TaskGroup() as group:
        calls = [group.create_task(client.call("points", "Points.Meet", None, bool)) for _ in "abc"]

    assert [call.result() for call in calls] == [False] * 3


async def test_memory_budget_bounds_what_the_process_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_budget(), "limit", 1)
    async with Service("points", settings={"memory_budget": "2MiB"}).running():
        assert process_budget().limit == 2 << 20


@pytest.mark.parametrize("compression", ["off", "gzip"])
async def test_max_body_refuses_a_larger_body(compression: str) -> None:
    settings = {"max_body": "1MiB", "compression": compression}
    service = Service("points", settings=settings)

    @service.handler
    async def measure(text: str) -> int:
        return len(text)

    try:
        async with service.running() as client:
            assert await client.call("points", "Points.Measure", "x" * 1000, int) == 1000
            with pytest.raises(PayloadTooLarge):
                await client.call("points", "Points.Measure", "x" * (2 << 20), int)
    finally:
        process_body_limit().bytes = MAX_BODY_BYTES


class Limited:
    """A service that takes bodies of 1 KiB, and what its subscriber has heard."""

    def __init__(self) -> None:
        self.service = Service("points", settings={"max_body": "1KiB"})
        self.heard: list[int] = []
        self.news = Signal()

        @self.service.handler
        async def measure(text: str) -> int:
            return len(text)

        @self.service.handler
        async def swell(size: int) -> str:
            return "x" * size

        @self.service.handler
        async def measure_each(texts: AsyncIterator[str]) -> AsyncIterator[int]:
            async for text in texts:
                yield len(text)

        @self.service.handler
        async def swell_each(sizes: list[int]) -> AsyncIterator[str]:
            for size in sizes:
                yield "x" * size

        @self.service.subscriber("texts")
        async def on_text(text: str) -> None:
            self.heard.append(len(text))
            self.news.set()


@pytest.fixture
async def limited() -> AsyncIterator[tuple[Limited, Client]]:
    limited = Limited()
    try:
        async with limited.service.running() as client:
            yield limited, client
    finally:
        process_body_limit().bytes = MAX_BODY_BYTES


async def test_max_body_holds_for_requests_and_answers_of_one_frame(limited) -> None:
    _, client = limited
    assert await client.call("points", "Points.Measure", "x" * 1000, int) == 1000
    with pytest.raises(PayloadTooLarge):
        await client.call("points", "Points.Measure", "x" * 2000, int)
    with pytest.raises(PayloadTooLarge):
        await client.call("points", "Points.Swell", 2000, str)


@pytest.mark.parametrize(
    ("endpoint", "request_value", "small"),
    [("Points.MeasureEach", None, 3), ("Points.SwellEach", [3, 2000], "xxx")],
)
async def test_max_body_holds_for_the_items_of_streams(
    limited, endpoint: str, request_value: object, small: object
) -> None:
    _, client = limited
    async with client.stream("points", endpoint, request_value) as stream:
        if request_value is None:
            await stream.send("xxx")
            await stream.send("x" * 2000)
        assert await stream.receive() == small
        with pytest.raises(PayloadTooLarge):
            await stream.receive()


async def test_max_body_holds_for_events(limited, caplog: pytest.LogCaptureFixture) -> None:
    heard, client = limited
    for size in (2000, 3):
        await client.publish("texts", "x" * size)
    await heard.news.until(lambda: 3 in heard.heard, lambda: str(heard.heard))

    assert heard.heard == [3]
    assert "over the limit of 1024" in caplog.text
