"""The byte stream below a link: a WebSocket, which aiohttp reads and writes."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Protocol

from micro.scope import Scope
from micro_nats.connection.byte_stream import (
    HIGH_WATER_BYTES,
    LOW_WATER_BYTES,
    ByteStream,
    Fail,
    Receive,
)

__all__ = ["Session", "WebSocket", "WebSocketStream"]

_MIN_CLOSE_SECONDS = 0.5


class WebSocket(Protocol):
    """What is used of aiohttp's ClientWebSocketResponse."""

    async def receive_bytes(self) -> bytes:
        """Wait for the next binary message; any other one is a TypeError."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""

    async def close(self) -> object:
        """Close with a closing handshake."""


class Session(Protocol):
    """What is used of aiohttp's ClientSession."""

    async def close(self) -> None:
        """Close what the session holds."""


class WebSocketStream(ByteStream):
    """A WebSocket, read by one task and written by another.

    Args:
        socket: The open WebSocket.
        session: The session that it belongs to; closed with it.
        left: Bytes that were read before.
        scope: Where the two tasks run.
    """

    def __init__(self, socket: WebSocket, session: Session, left: bytes, scope: Scope) -> None:
        self._socket = socket
        self._session = session
        self._left = left
        self._scope = scope
        self._tasks: list[asyncio.Task[None]] = []
        self._out: deque[bytes] = deque()
        self._size = 0
        self._due = asyncio.Event()
        self._low = asyncio.Event()
        self._low.set()
        self._empty = asyncio.Event()
        self._empty.set()

    def start(self, receive: Receive, fail: Fail) -> None:
        """Begin to read and write; see `ByteStream.start`."""
        if self._left:
            receive(self._left)
        self._tasks = [
            self._scope.start(self._read(receive, fail), name="micro-nats-websocket-read"),
            self._scope.start(self._write(fail), name="micro-nats-websocket-write"),
        ]

    def write(self, data: bytes) -> int:
        """Queue bytes; returns how many bytes wait to be sent."""
        self._out.append(data)
        self._size += len(data)
        self._due.set()
        self._empty.clear()
        if self._size > HIGH_WATER_BYTES:
            self._low.clear()
        return self._size

    @property
    def buffered(self) -> int:
        """Bytes that wait for their turn."""
        return self._size

    async def wait_writable(self) -> None:
        """Wait until a full queue is low again, or the connection has ended."""
        await self._low.wait()

    def abort(self) -> None:
        """Stop reading and writing; `close` must follow."""
        for task in self._tasks:
            task.cancel()
        self._low.set()
        self._empty.set()

    async def close(self, seconds: float) -> None:
        """Send what waits, for at most `seconds`, and close."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        self.abort()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(max(seconds, _MIN_CLOSE_SECONDS)):
                await self._socket.close()
        await self._session.close()

    async def _read(self, receive: Receive, fail: Fail) -> None:
        try:
            while True:
                receive(await self._socket.receive_bytes())
        except TypeError:
            fail(ConnectionError("the server closed the connection"))
        except Exception as error:
            # Any error of the library ends this connection, not the scope.
            fail(error)

    async def _write(self, fail: Fail) -> None:
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                while self._out:
                    # It counts as waiting until it is sent, so that `close` waits for it.
                    data = self._out[0]
                    await self._socket.send_bytes(data)
                    self._out.popleft()
                    self._size -= len(data)
                    if self._size <= LOW_WATER_BYTES:
                        self._low.set()
                self._empty.set()
        except Exception as error:
            # As in _read.
            fail(error)
