"""Counts the processor time of calls, events and items: client and service in this process.

    python benchmarks/probes/cost.py memory|nats ADDRESS

Reads `CASE TIMES` on each line of its input and answers each with a line: microseconds of this
process for one, or `absent` where the framework that it runs with does not know the case. It uses
only what older versions have too, so that the interpreter of another checkout can run it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated

from pydantic import BaseModel

import micro
from micro import Client, MemoryBackend, Service, load_settings, open_client
from micro.plugins import Backends

_WORKERS = 64
_TOPIC = "points.awarded"


class Award(BaseModel):
    user: str
    points: int


ANN = Award(user="ann", points=5)
ONE = Annotated[int, None]
POOL = Annotated[int, None]


class Events:
    """Counts the events that a subscriber handled."""

    def __init__(self) -> None:
        self.wanted = 0
        self.done = asyncio.Event()

    def expect(self, count: int) -> None:
        self.wanted = count
        self.done.clear()

    def handled(self) -> None:
        self.wanted -= 1
        if self.wanted == 0:
            self.done.set()


def points(events: Events) -> Service:
    """The service; the endpoint with dependencies only where the framework has them."""
    service = Service("points")

    @service.handler
    async def award(award: Award) -> Award:
        return Award(user=award.user, points=award.points + 1)

    @service.handler
    async def count(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    @service.subscriber(_TOPIC)
    async def on_award(award: Award) -> None:
        events.handled()

    if hasattr(micro, "Depends"):
        _add_dependencies(service)
    return service


def _add_dependencies(service: Service) -> None:
    """A lifespan, and a resource that is opened and closed for each call."""
    global ONE, POOL

    @service.lifespan
    async def pool() -> AsyncIterator[int]:
        yield 0

    POOL = Annotated[int, micro.Depends(pool)]

    async def one(pool: POOL) -> AsyncIterator[int]:
        yield 1 + pool

    ONE = Annotated[int, micro.Depends(one)]

    @service.handler
    async def give(award: Award, pool: POOL, one: ONE) -> Award:
        return Award(user=award.user, points=award.points + one)


class Cases:
    """What can be measured, by name."""

    def __init__(self, client: Client, events: Events) -> None:
        self._client = client
        self._events = events
        self.known: dict[str, Callable[[int], Awaitable[None]]] = {
            "unary-1": self.unary,
            f"unary-{_WORKERS}": self.together,
            "stream": self.stream,
            "event": self.event,
        }
        if hasattr(micro, "Depends"):
            self.known["dependencies"] = self.dependencies

    async def unary(self, times: int, endpoint: str = "Points.Award") -> None:
        for _ in range(times):
            await self._client.call("points", endpoint, ANN, Award)

    async def together(self, times: int, endpoint: str = "Points.Award") -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(_WORKERS):
                workers.create_task(self.unary(times // _WORKERS, endpoint))

    async def dependencies(self, times: int) -> None:
        await self.together(times, "Points.Give")

    async def stream(self, times: int) -> None:
        async with self._client.stream("points", "Points.Count", times, int) as numbers:
            async for _ in numbers:
                pass

    async def event(self, times: int) -> None:
        self._events.expect(times)
        for _ in range(times):
            await self._client.publish(_TOPIC, ANN)
        await self._events.done.wait()


async def main(kind: str, address: str) -> None:
    events = Events()
    async with AsyncExitStack() as stack:
        cases = Cases(await _client(stack, points(events), kind, address), events)
        for name in cases.known:
            await cases.known[name](_WORKERS)
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, times = line.split()
            print(await _measure(cases, name, int(times)), flush=True)


async def _measure(cases: Cases, name: str, times: int) -> str:
    work = cases.known.get(name)
    if work is None:
        return "absent"
    gc.collect()
    began = time.process_time()
    await work(times)
    return f"{(time.process_time() - began) / times * 1e6:.3f}"


async def _client(stack: AsyncExitStack, service: Service, kind: str, address: str) -> Client:
    if kind == "memory":
        return await stack.enter_async_context(service.running(MemoryBackend()))
    told = ["--transport_address", address]
    settings = load_settings(told, {})
    backends = await stack.enter_async_context(Backends(name="points", settings=settings))
    await stack.enter_async_context(service.running(backends=backends, settings=settings))
    return await stack.enter_async_context(open_client(load_settings(told, {})))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
