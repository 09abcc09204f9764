"""The Python twin of the Go peers' service: the same endpoints, the same shapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel

from micro import BadRequest, Context, MicroError, Service

TOPIC = "greeter.events"


class Req(BaseModel):
    name: str = ""
    count: int = 0


class Rsp(BaseModel):
    msg: str = ""


def greeter(name: str = "greeter") -> tuple[Service, asyncio.Queue[str]]:
    """The service, and the names in the events that it received."""
    service = Service(name)
    received: asyncio.Queue[str] = asyncio.Queue()
    service.handler(Greeter)

    @service.subscriber(TOPIC)
    async def on_event(event: Req) -> None:
        received.put_nowait(event.name)

    return service, received


class Greeter:
    async def hello(self, request: Req) -> Rsp:
        return Rsp(msg=f"Hello {request.name}")

    async def fail(self, request: Req) -> Rsp:
        raise BadRequest(f"bad name {request.name}")

    async def fail_with(self, request: Req) -> Rsp:
        raise MicroError(request.name, code=request.count)

    async def plain(self, request: Req) -> Rsp:
        raise ValueError("a secret")

    async def slow(self, request: Req) -> Rsp:
        await asyncio.sleep(request.count / 1000)
        return Rsp(msg=f"Hello {request.name}")

    async def headers(self, context: Context) -> Rsp:
        found = [value for name, value in context.headers.items() if name.lower() == "x-user"]
        return Rsp(msg="".join(found))

    async def raw(self, body: bytes) -> bytes:
        return body

    async def count(self, request: Req) -> AsyncIterator[Rsp]:
        for number in range(request.count):
            yield Rsp(msg=f"item {number}")

    async def break_off(self, request: Req) -> AsyncIterator[Rsp]:
        yield Rsp(msg="item 0")
        raise BadRequest("broken off")

    async def collect(self, requests: AsyncIterator[Req]) -> Rsp:
        names: list[str] = []
        total = 1
        async for request in requests:
            total = total if names else request.count
            names.append(request.name)
            if len(names) == total:
                break
        return Rsp(msg=",".join(names))

    async def chat(self, requests: AsyncIterator[Req]) -> AsyncIterator[Rsp]:
        async for request in requests:
            yield Rsp(msg=f"echo {request.name}")
