"""What the tests of the engine share: models, running services, raw frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic import BaseModel

from micro import Client, MemoryBackend, Service
from micro.message import Message
from micro.testing import Recorder
from micro.transport.contract import Socket
from micro.wire.headers import CONTENT_TYPE, CREDIT, ENDPOINT, ID, STREAM

JSON = "application/json"


class Award(BaseModel):
    user: str
    points: int


class Balance(BaseModel):
    user: str
    points: int


ANN = Award(user="ann", points=5)


async def until(true: Callable[[], bool]) -> None:
    """Let the event loop turn until something is true, at most 5 s."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)


class Gauge:
    """A handler that waits: who started, who was cancelled, and a limiter to let them go on."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self._news = asyncio.Event()

    async def wait(self) -> None:
        """Count the start, wait for `go`, and count a cancellation."""
        self.started += 1
        self._news.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            self._news.set()
            raise

    async def until(self, *, started: int = 0, cancelled: int = 0) -> None:
        """Wait until so many started and so many were cancelled."""
        async with asyncio.timeout(5):
            while self.started < started or self.cancelled < cancelled:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def running(
    *services: Service, backend: MemoryBackend | None = None
) -> AsyncIterator[Client]:
    """Run services on one network; gives the last one's client."""
    network = backend or MemoryBackend()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(each.running(network)) for each in services]
        yield clients[-1]


class Raw:
    """A client that speaks frames: for what the real one would never send."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.socket: Socket

    def send(self, headers: dict[str, str], body: bytes = b"") -> None:
        """Send one frame as it is."""
        self.socket.send(Message(headers, body))

    def request(self, endpoint: str, body: bytes = b"", id: str = "1", **headers: str) -> None:
        """Send a native request."""
        self.send({ENDPOINT: endpoint, ID: id, CONTENT_TYPE: JSON, **headers}, body)

    def open(self, endpoint: str, body: bytes = b"", id: str = "1", credit: str = "256") -> None:
        """Send the opening frame of a native stream."""
        headers = {ENDPOINT: endpoint, ID: id, STREAM: id, CONTENT_TYPE: JSON, CREDIT: credit}
        self.send(headers, body)

    async def replies(self, count: int) -> list[Message]:
        """Wait for so many frames in all."""
        return await self.recorder.wait_for(count)

    async def reply(self, id: str = "1") -> Message:
        """Wait for the first frame of one call."""
        for count in range(1, 1000):
            frame = (await self.recorder.wait_for(count))[count - 1]
            if frame.headers.get(ID) == id:
                return frame
        raise AssertionError("no such reply")


@asynccontextmanager
async def raw(client: Client, service: str = "points") -> AsyncIterator[Raw]:
    """Dial the only node of a service, bypassing the client."""
    (record,) = await client.registry.get_service(service)
    transport: Any = client.transport
    raw = Raw()
    raw.socket = await transport.dial(record.nodes[0].address, raw.recorder)
    async with raw.socket:
        yield raw
    await raw.recorder.wait_closed()
