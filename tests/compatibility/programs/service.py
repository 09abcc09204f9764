"""A service that runs on either version."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version

from pydantic import BaseModel

from micro import NotFound, Service


class Award(BaseModel):
    user: str
    points: int


class Counter:
    """Counts, and lets a handler wait for a count."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self._changed = asyncio.Condition()

    async def add(self, value: int) -> None:
        async with self._changed:
            self.values.append(value)
            self._changed.notify_all()

    async def until(self, count: int) -> list[int]:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.values) >= count)
        return sorted(self.values)


service = Service("points", version="1.0.0")
cancelled, left, events = Counter(), Counter(), Counter()
me = "".join(flag.partition("=")[2] for flag in sys.argv if flag.startswith("--server_id="))


@service.handler
async def version_of() -> str:
    return version("micro-rpc")


@service.handler(idempotent=True)
async def who() -> str:
    return me


@service.handler
async def award(request: Award) -> Award:
    return Award(user=request.user, points=request.points + 1)


@service.handler
async def repeat(text: str) -> str:
    return text


@service.handler
async def fail(name: str) -> None:
    if name == "unknown":
        raise NotFound("no such user")
    raise ValueError("a secret")


@service.handler
async def wait() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await cancelled.add(1)


@service.handler
async def count(request: int) -> AsyncIterator[int]:
    for number in range(request):
        yield number


@service.handler
async def endless() -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        await left.add(1)


@service.handler
async def total(awards: AsyncIterator[Award]) -> int:
    return sum([award.points async for award in awards])


@service.handler
async def double(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
    async for number in numbers:
        yield 2 * number


@service.handler
async def cancellations(request: int) -> list[int]:
    return await cancelled.until(request)


@service.handler
async def departures(request: int) -> list[int]:
    return await left.until(request)


@service.handler
async def heard(request: int) -> list[int]:
    return await events.until(request)


@service.subscriber("orders.created")
async def on_order(number: int) -> None:
    await events.add(number)


if __name__ == "__main__":
    service.run()
