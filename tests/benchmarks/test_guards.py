"""The hot path's work, counted: figures that a busy machine does not change.

A count that rises is a path that became slower. If that is worth it, raise the bound here; times
are the business of `make bench`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import FrameType
from typing import Annotated, Any

import pytest

from micro import Client, Depends, Service, load_settings, open_client
from micro.plugins import Backends
from micro_nats.devserver import run_server
from micro_nats.transport.outbox import Outbox
from tests.engine import ANN, Award, Balance, running

CONCURRENCY = 64
EACH = 10
CALLS = CONCURRENCY * EACH
ITEMS = 2_000

# Today's figures with 5 to 15 % to spare; measured with Python 3.11 and asyncio's own event loop.
MOST_FUNCTIONS_A_CALL = 84
MOST_FUNCTIONS_FOR_TWO_DEPENDENCIES = 10
MOST_FUNCTIONS_AN_ITEM = 19
MOST_MESSAGES_A_TURN = 9


def points() -> Service:
    service = Service("points")

    @service.handler
    async def award(award: Award) -> Balance:
        return Balance(user=award.user, points=award.points + 1)

    @service.handler
    async def count(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    return service


def points_with_dependencies() -> Service:
    service = Service("points")

    @service.lifespan
    async def pool() -> AsyncIterator[list[int]]:
        yield []

    async def one(pool: Annotated[list[int], Depends(pool)]) -> AsyncIterator[int]:
        yield 1 + len(pool)

    @service.handler
    async def award(
        award: Award, pool: Annotated[list[int], Depends(pool)], one: Annotated[int, Depends(one)]
    ) -> Balance:
        return Balance(user=award.user, points=award.points + one)

    return service


async def ask(client: Client) -> None:
    await client.call("points", "Points.Award", ANN, Balance)


async def load(client: Client, measure: Callable[[], Any] = lambda: None) -> Any:
    """Workers that call together; `measure` is asked when all of them wait to begin."""
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        for _ in range(EACH):
            await ask(client)

    async with asyncio.TaskGroup() as workers:
        for _ in range(CONCURRENCY):
            workers.create_task(work())
        await asyncio.sleep(0)
        before = measure()
        go.set()
    return before


async def functions(work: Callable[[], Awaitable[object]]) -> int:
    """How many Python functions were called, generators' and coroutines' resumptions included."""
    seen = 0

    def look(frame: FrameType, event: str, arg: object) -> None:
        nonlocal seen
        seen += event == "call"

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        await work()
    finally:
        sys.setprofile(before)
    return seen


class Counting:
    """Counts the tasks and the timers that an event loop is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tasks = Counter[str]()
        self.timers = 0
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def factory(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            self.tasks[coroutine.__qualname__] += 1
            return asyncio.Task(coroutine, loop=loop, **options)

        def counting_call_at(*args: Any, **options: Any) -> asyncio.TimerHandle:
            self.timers += 1
            return call_at(*args, **options)

        monkeypatch.setattr(loop, "call_at", counting_call_at)
        loop.set_task_factory(factory)


class TestOverMemory:
    async def test_a_call_runs_few_functions(self) -> None:
        async with running(points()) as client:
            await load(client)
            seen = await functions(lambda: load(client)) / CALLS

        print(f"\n{seen:.1f} Python functions a call")
        assert seen <= MOST_FUNCTIONS_A_CALL

    async def test_two_dependencies_cost_a_call_few_functions(self) -> None:
        seen = []
        for service in (points(), points_with_dependencies()):
            async with running(service) as client:
                await load(client)
                seen.append(await functions(lambda: load(client)) / CALLS)

        without, with_two = seen
        print(f"\n{with_two - without:.1f} Python functions more for two dependencies")
        assert with_two - without <= MOST_FUNCTIONS_FOR_TWO_DEPENDENCIES

    async def test_a_streams_item_runs_few_functions(self) -> None:
        async def read(client: Client) -> None:
            async with client.stream("points", "Points.Count", ITEMS, int) as numbers:
                async for _ in numbers:
                    pass

        async with running(points()) as client:
            await read(client)
            seen = await functions(lambda: read(client)) / ITEMS

        print(f"\n{seen:.1f} Python functions an item")
        assert seen <= MOST_FUNCTIONS_AN_ITEM

    async def test_a_call_is_one_task_at_the_server_and_none_at_the_client(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with running(points()) as client:
            await load(client)
            counting = Counting(monkeypatch)
            before = await load(client, lambda: counting.tasks.total())
            made = counting.tasks.total() - before
            counting.tasks.clear()
            await ask(client)
            one = counting.tasks.copy()

        assert made <= CALLS
        assert one.total() <= 1, one

    async def test_a_call_sets_no_timer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with running(points()) as client:
            await load(client)
            counting = Counting(monkeypatch)
            await load(client)

        # The shared timer is set anew for each slot of 10 ms; the slower the run, the more slots.
        print(f"\n{counting.timers} timers for {CALLS} calls")
        assert counting.timers < CALLS / 5


class TestOverNats:
    async def test_calls_made_together_travel_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        messages = counted_messages(monkeypatch)
        async with service_and_client() as client:
            await load(client)
            before = messages.total()
            await load(client)
            sent = (messages.total() - before) / EACH

        print(f"\n{sent:.1f} NATS messages for {CONCURRENCY} calls and their replies")
        assert sent <= MOST_MESSAGES_A_TURN

    async def test_a_lone_call_is_two_messages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        messages = counted_messages(monkeypatch)
        async with service_and_client() as client:
            await ask(client)
            before = messages.total()
            for _ in range(EACH):
                await ask(client)
            sent = messages.total() - before

        assert sent <= 2 * EACH + 2, "two for each call; the registry may have said something"


def counted_messages(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    messages: Counter[str] = Counter()
    put = Outbox.put

    def counting(self: Outbox, subject: str, reply: str, payload: bytes) -> None:
        messages[subject] += 1
        put(self, subject, reply, payload)

    monkeypatch.setattr(Outbox, "put", counting)
    return messages


@asynccontextmanager
async def service_and_client() -> AsyncIterator[Client]:
    """The service and a client, each on a connection of its own to a real server."""
    service = points()
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(run_server())
        told = ["--transport_address", nats.address]
        settings = load_settings(told, {})
        backends = await stack.enter_async_context(Backends(name="points", settings=settings))
        await stack.enter_async_context(service.running(backends=backends, settings=settings))
        yield await stack.enter_async_context(open_client(load_settings(told, {})))
