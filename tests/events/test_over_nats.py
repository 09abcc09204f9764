"""Events over a real nats-server, on asyncio's event loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from micro import Client, Service
from micro.errors import NoSubscribers
from micro.plugins import Backends
from micro.settings.load import Settings, load_settings
from micro.testing import Signal
from micro_nats.devserver import NatsServer
from tests.events.inbox import Inbox

pytestmark = pytest.mark.both_loops


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    server = NatsServer()
    server.start()
    asyncio.run(server.wait())
    yield server
    server.stop()


@pytest.fixture
def settings(server: NatsServer) -> Settings:
    return load_settings(["--transport-address", server.address], {})


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with Service("publisher").running(settings=settings) as client:
        yield client


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize("error", [StopIteration, SystemExit, GeneratorExit])
async def test_a_subscriber_that_raises_anything_goes_on(
    client: Client, settings: Settings, kind: str, error: type[BaseException]
) -> None:
    service, inbox = Service("points"), Inbox()
    loop = asyncio.get_running_loop()

    async def handle(event: int) -> None:
        inbox.add(event)
        if event == 0:
            raise error

    def handle_in_thread(event: int) -> None:
        loop.call_soon_threadsafe(inbox.add, event)
        if event == 0:
            raise error

    service.subscriber("over.raise")(handle if kind == "async" else handle_in_thread)
    async with service.running(settings=settings):
        await client.publish("over.raise", 0, confirm=True)
        await client.publish("over.raise", 1)
        await inbox.until(2)

    assert service.metrics["micro.subscriber.failed"] == 1


async def test_a_timeout_cancels_a_subscriber(client: Client, settings: Settings) -> None:
    service, inbox = Service("points"), Inbox()

    @service.subscriber("over.timeout", timeout=0.05)
    async def on_event(event: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            inbox.add("cancelled")

    async with service.running(settings=settings):
        await client.publish("over.timeout", 0, confirm=True)
        await inbox.until(1)

    assert service.metrics["micro.subscriber.expired"] == 1


async def test_a_publisher_learns_that_no_one_is_subscribed(client: Client) -> None:
    with pytest.raises(NoSubscribers):
        await client.publish("over.none", 0, confirm=True)


async def test_no_event_is_lost_when_one_of_two_instances_stops(
    client: Client, settings: Settings
) -> None:
    handled: Counter[int] = Counter()
    signal = Signal()

    def instance(stop_after: int) -> Service:
        service = Service("points")

        @service.subscriber("over.drain")
        async def on_event(event: int) -> None:
            await asyncio.sleep(0)
            handled[event] += 1
            signal.set()

        @service.subscriber("over.other")
        async def on_other(event: int) -> None: ...

        return service

    async with instance(0).running(settings=settings):
        async with AsyncExitStack() as stopping:
            await stopping.enter_async_context(instance(1).running(settings=settings))
            for number in range(2000):
                await client.publish("over.drain", number)
            stop = asyncio.ensure_future(stopping.aclose())
            for number in range(2000, 6000):
                await client.publish("over.drain", number)
                if not number % 100:
                    await client.flush()
            await stop
        await signal.until(lambda: len(handled) >= 6000, lambda: f"{len(handled)} of 6000")

    assert set(handled.values()) == {1}


async def test_a_client_follows_a_service_that_starts_and_stops(
    client: Client, server: NatsServer, settings: Settings
) -> None:
    async with Backends(name="watcher", settings=settings) as backends:
        registry = await backends.registry()
        async with registry.watch("comes") as sets, asyncio.timeout(10):
            assert await anext(sets) == ()
            async with Service("comes").running(settings=settings):
                [found] = await anext(sets)
            assert await anext(sets) == ()

    assert len(found.nodes) == 1
