"""One subscriber: failures of its handler, its bounds and its timeout, over memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from micro import Service
from micro.errors import HandlerError
from tests.engine import running, until
from tests.events.inbox import Inbox

ERRORS = [StopIteration, StopAsyncIteration, SystemExit, GeneratorExit, asyncio.CancelledError]


def failing_async(error: type[BaseException], inbox: Inbox) -> Callable[..., Any]:
    async def on_order(event: int) -> None:
        inbox.add(event)
        if event == 0:
            raise error

    return on_order


def failing_plain(error: type[BaseException], inbox: Inbox) -> Callable[..., Any]:
    loop = asyncio.get_running_loop()

    def on_order(event: int) -> None:
        loop.call_soon_threadsafe(inbox.add, event)
        if event == 0:
            raise error

    return on_order


def failing_method(error: type[BaseException], inbox: Inbox) -> Callable[..., Any]:
    class Orders:
        async def on_order(self, event: int) -> None:
            inbox.add(event)
            if event == 0:
                raise error

    return Orders().on_order


@pytest.mark.parametrize("make", [failing_async, failing_plain, failing_method])
@pytest.mark.parametrize("error", ERRORS)
async def test_an_exception_of_any_kind_is_a_logged_failure_and_the_next_event_is_handled(
    make: Callable[..., Any], error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    service, inbox = Service("points"), Inbox()
    service.subscriber("orders", max_concurrency=1)(make(error, inbox))

    async with running(service) as client:
        await client.publish("orders", 0)
        await client.publish("orders", 1)
        await inbox.until(2)

    assert service.metrics["micro.subscriber.failed"] == 1
    assert service.metrics["micro.subscriber.handled"] == 2
    assert caplog.text.count("failed on an event of orders") == 1


async def test_a_layer_that_raises_system_exit_does_not_end_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def layer(request: Any, next: Any) -> Any:
        if request.value == 0:
            raise SystemExit(7)
        return await next(request)

    service, inbox = Service("points", subscriber_middleware=[layer]), Inbox()

    @service.subscriber("orders")
    async def on_order(event: int) -> None:
        inbox.add(event)

    async with running(service) as client:
        await client.publish("orders", 0)
        await client.publish("orders", 1)
        await inbox.until(1)

    assert "OnOrder failed on an event of orders" in caplog.text


@pytest.mark.parametrize("given", [{"timeout": 0.02}, {}], ids=["argument", "setting"])
async def test_an_event_over_its_timeout_is_cancelled_counted_and_logged(
    given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    settings = {} if given else {"subscriber_timeout": "20ms"}
    service, inbox = Service("points", settings=settings), Inbox()

    @service.subscriber("orders", max_concurrency=1, **given)
    async def on_order(event: int) -> None:
        if event == 0:
            await asyncio.Event().wait()
        inbox.add(event)

    async with running(service) as client:
        await client.publish("orders", 0)
        await client.publish("orders", 1)
        assert await inbox.until(1) == [1]

    assert service.metrics["micro.subscriber.expired"] == 1
    assert "OnOrder failed on an event of orders: it was not handled within 0.02s" in caplog.text


async def test_a_timeout_of_zero_sets_no_limit() -> None:
    service, inbox, go = Service("points", settings={"subscriber_timeout": 0.02}), Inbox(), Inbox()

    @service.subscriber("orders", timeout=0)
    async def unlimited(event: int) -> None:
        await go.until(1)
        inbox.add("unlimited")

    @service.subscriber("orders")
    async def limited(event: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            go.add("limited has ended")

    async with running(service) as client:
        await client.publish("orders", 0)
        assert await inbox.until(1) == ["unlimited"]


async def test_a_thread_that_outlives_its_timeout_keeps_its_place() -> None:
    service, inbox, gate = Service("points", settings={"threads": 1}), Inbox(), threading.Event()
    loop = asyncio.get_running_loop()

    @service.subscriber("orders", timeout=0.02)
    def on_order(event: int) -> None:
        loop.call_soon_threadsafe(inbox.add, f"begin {event}")
        gate.wait(5)
        loop.call_soon_threadsafe(inbox.add, f"end {event}")

    async with running(service) as client:
        await client.publish("orders", 0)
        await client.publish("orders", 1)
        await inbox.until(1)
        await until(lambda: service.metrics["micro.subscriber.expired"] > 0)
        assert inbox.events == ["begin 0"]
        gate.set()
        await inbox.until(4)

    assert inbox.events == ["begin 0", "end 0", "begin 1", "end 1"]


@pytest.mark.parametrize(
    "bounds",
    [{"max_concurrency": 0}, {"max_queue": -1}, {"timeout": -1}, {"timeout": float("inf")}],
)
def test_a_bound_that_makes_no_sense_is_refused_at_decoration(bounds: dict[str, Any]) -> None:
    service = Service("points")
    with pytest.raises(HandlerError, match=next(iter(bounds))):

        @service.subscriber("orders", **bounds)
        async def on_order(event: int) -> None: ...


def test_an_option_that_does_not_exist_is_refused_at_decoration() -> None:
    service = Service("points")
    with pytest.raises(HandlerError, match="max_concurency"):

        @service.subscriber("orders", max_concurency=1)  # type: ignore[call-arg]
        async def on_order(event: int) -> None: ...


async def test_a_queue_of_its_own_bounds_what_waits(caplog: pytest.LogCaptureFixture) -> None:
    service, inbox, go = Service("points"), Inbox(), asyncio.Event()

    @service.subscriber("orders", max_concurrency=1, max_queue=2)
    async def on_order(event: int) -> None:
        await go.wait()
        inbox.add(event)

    async with running(service) as client:
        for number in range(10):
            await client.publish("orders", number)
        await until(lambda: service.metrics["micro.subscriber.dropped"] > 0)
        go.set()
        await inbox.until(3)

    assert inbox.events == [0, 1, 2]
    assert service.metrics["micro.subscriber.dropped"] == 7


async def test_a_flood_of_failures_writes_a_bounded_number_of_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("points")

    @service.subscriber("orders")
    async def on_order(event: int) -> None:
        raise ValueError(event)

    async with running(service) as client:
        for number in range(1000):
            await client.publish("orders", number)

    assert service.metrics["micro.subscriber.failed"] == 1000
    assert caplog.text.count("failed on an event") <= 30
