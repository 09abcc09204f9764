"""A service that runs as often as a test likes, told apart by `--server_id`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel

from micro import Context, MicroError, NotFound, Service


class Award(BaseModel):
    user: str
    points: int


service = Service("points", version="1.0.0")
me = ""


@service.on_start
async def learn_who_i_am() -> None:
    global me
    (entry,) = [word for word in __import__("sys").argv if word.startswith("--server_id=")]
    me = entry.partition("=")[2]


@service.handler
async def who() -> str:
    return me


@service.handler(idempotent=True)
async def look() -> str:
    return me


@service.handler
async def award(request: Award) -> Award:
    return Award(user=request.user, points=request.points + 1)


@service.handler
async def fail(code: int) -> None:
    if code == 500:
        raise ValueError("secret")
    raise NotFound("no such user") if code == 404 else MicroError("because", code=code)


@service.handler
async def wait() -> None:
    await service.publish("test.waiting", me)
    try:
        await asyncio.Event().wait()
    finally:
        await service.publish("test.cancelled", me)


@service.handler
async def count(request: int) -> AsyncIterator[int]:
    try:
        for number in range(request):
            yield number
    finally:
        await service.publish("test.ended", me)


@service.handler
async def idle() -> AsyncIterator[int]:
    yield 0
    await asyncio.Event().wait()


@service.handler
async def total(awards: AsyncIterator[Award]) -> int:
    return sum([award.points async for award in awards])


@service.handler
async def echo(awards: AsyncIterator[Award]) -> AsyncIterator[Award]:
    async for award in awards:
        yield award


@service.subscriber("orders.created")
async def on_order(number: int) -> None:
    await service.publish("test.handled", [me, number])


@service.subscriber("orders.created", queue=None)
async def on_every_order(number: int, ctx: Context) -> None:
    await service.publish("test.seen", [me, number])


if __name__ == "__main__":
    service.run()
