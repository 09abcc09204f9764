"""A bare NATS connection, for what no client would send, and waits with a bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.request import urlopen

from micro.backend import ConnectionEvent, ConnectionState
from micro.errors import ConnectionLost
from micro.testing import Signal
from micro_nats.connection.connection import Observer
from micro_nats.devserver import NatsServer


class Raw:
    """Writes whatever it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write, and wait until the server has taken it in."""
        self.writer.write(data + b"PING\r\n")
        async with asyncio.timeout(5):
            while (line := await self.reader.readline()) != b"PONG\r\n":
                assert line, "the server closed the connection"

    async def publish(self, subject: bytes, payload: bytes, reply: bytes = b"") -> None:
        await self.send(b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload))

    async def publish_headers(self, subject: bytes, headers: bytes, payload: bytes = b"") -> None:
        total = len(headers) + len(payload)
        line = b"HPUB %b %d %d\r\n" % (subject, len(headers), total)
        await self.send(line + headers + payload + b"\r\n")


@asynccontextmanager
async def raw(server: NatsServer) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


class Inbox:
    """A subscription's callback that keeps what comes."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, bytes, dict[str, str] | None]] = []
        self._signal = Signal()

    def __call__(self, *message) -> None:
        self.messages.append(message)
        self._signal.set()

    @property
    def payloads(self) -> list[bytes]:
        return [message[2] for message in self.messages]

    async def wait_for(self, count: int) -> None:
        await self._signal.until(
            lambda: len(self.messages) >= count, lambda: f"{len(self.messages)} of {count}"
        )


class Events:
    """An `on_event` that keeps what comes."""

    def __init__(self) -> None:
        self.events: list[ConnectionEvent] = []
        self._signal = Signal()

    def __call__(self, event: ConnectionEvent) -> None:
        self.events.append(event)
        self._signal.set()

    @property
    def states(self) -> list[ConnectionState]:
        return [event.state for event in self.events]

    async def wait_for(self, state: ConnectionState, count: int = 1) -> ConnectionEvent:
        await self._signal.until(
            lambda: self.states.count(state) >= count, lambda: f"events: {self.events}"
        )
        return [event for event in self.events if event.state == state][count - 1]


class Watch(Observer):
    """An observer of a connection made of functions."""

    def __init__(self, lost=None, restored=None, denied=None) -> None:
        self._lost, self._restored, self._denied = lost, restored, denied

    def on_lost(self, error: ConnectionLost) -> None:
        if self._lost:
            self._lost(error)

    def on_restored(self) -> None:
        if self._restored:
            self._restored()

    def on_denied(self, subject: str) -> None:
        if self._denied:
            self._denied(subject)


async def until(done: Callable[[], bool]) -> None:
    """Wait for something that nothing tells of, turn by turn of the loop."""
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.002)


async def eventually(done: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Ask twice a second until the answer is true."""
    async with asyncio.timeout(seconds):
        while not await done():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.5)


async def connections(server: NatsServer) -> list[dict[str, object]]:
    """What the server's monitoring says of its connections."""

    def read() -> list[dict[str, object]]:
        with urlopen(f"{server.monitor}/connz?subs=true") as answer:
            return json.load(answer)["connections"]

    return await asyncio.to_thread(read)
