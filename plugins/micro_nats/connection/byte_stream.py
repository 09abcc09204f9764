"""The byte stream below a client, taken over from nats-py once the server has greeted.

nats-py reads through a StreamReader, whose task wakes for every read. Here the event loop's
transport calls back instead. A WebSocket has no such transport and keeps nats-py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

__all__ = ["ServerStream"]

_HIGH = 8 << 20
_LOW = 2 << 20

Receive = Callable[[bytes], None]
Lose = Callable[[Exception], None]


class ServerStream(asyncio.Protocol):
    """Reads and writes one connection's bytes.

    Attributes:
        wire: The event loop's transport; `None` for a WebSocket.
    """

    def __init__(self, transport: Any, receive: Receive, lose: Lose) -> None:
        self._nats = transport
        self._receive = receive
        self._lose = lose
        writer = getattr(transport, "_io_writer", None)
        self.wire: asyncio.Transport | None = writer.transport if writer is not None else None
        self._inner: asyncio.Protocol | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._room: list[asyncio.Future[None]] = []

    @staticmethod
    def encrypted(transport: Any) -> bool:
        """Whether what nats-py has connected speaks TLS."""
        writer = getattr(transport, "_io_writer", None)
        if writer is None:
            return bool(getattr(transport, "_using_tls", False))
        return writer.get_extra_info("ssl_object") is not None

    @staticmethod
    async def read_websocket(transport: Any, receive: Receive, lose: Lose) -> None:
        """Read a WebSocket until it ends; a plain connection is not read here."""
        if getattr(transport, "_io_writer", None) is not None:
            return
        try:
            while data := await transport.read(0):
                receive(data)
        except OSError as error:
            lose(error)
        else:
            lose(ConnectionError("the server closed the connection"))

    def take_over(self) -> bytes:
        """Let the event loop call this object from now on; returns what was read already."""
        if self.wire is None:
            return b""
        reader = self._nats._io_reader
        left = bytes(reader._buffer)
        reader._buffer.clear()
        self._inner = cast(asyncio.Protocol, self.wire.get_protocol())
        self.wire.set_protocol(self)
        self.wire.set_write_buffer_limits(high=_HIGH, low=_LOW)
        if reader.at_eof() or self.wire.is_closing():
            asyncio.get_running_loop().call_soon(
                self._lose, ConnectionError("the server closed the connection")
            )
        else:
            self.wire.resume_reading()
        return left

    def waiting(self) -> int:
        """Bytes in the event loop's buffer."""
        return self.wire.get_write_buffer_size() if self.wire is not None else 0

    async def room(self) -> None:
        """Wait until a full buffer is low again, or the connection is gone."""
        # At or below the high mark the event loop never paused, so it would never resume.
        if self.wire is None or self.wire.is_closing() or self.waiting() <= _HIGH:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        await waiter

    def abort(self) -> None:
        """End the connection without sending what waits."""
        if self.wire is not None:
            self.wire.abort()
        self._wake()

    async def close(self, seconds: float) -> None:
        """Send what waits, for at most `seconds`, and close."""
        if self.wire is None:
            await self._close_websocket(max(seconds, 0.5))
            return
        if seconds > 0 and self._inner is not None:
            self.wire.close()
            await asyncio.wait([self._gone], timeout=seconds)
        self.wire.abort()
        bare = getattr(self._nats, "_bare_io_writer", None)
        if bare is not None and bare.transport is not self.wire:
            bare.transport.abort()
        # The event loop closes the file descriptor in its next turn.
        await asyncio.sleep(0)
        self._wake()

    async def _close_websocket(self, seconds: float) -> None:
        if not self._nats:
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                if self._nats._ws is not None:
                    await self._nats.drain()
                self._nats.close()
                await self._nats.wait_closed()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        self._receive(data)

    def eof_received(self) -> None:
        """The server closed its half: the connection is of no use."""
        self._lose(ConnectionError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        if self._inner is not None:
            self._inner.connection_lost(exc)
        if not self._gone.done():
            self._gone.set_result(None)
        self._wake()
        self._lose(exc or ConnectionError("the connection was closed"))

    def resume_writing(self) -> None:
        """The buffer is low again."""
        self._wake()

    def _wake(self) -> None:
        for waiter in self._room:
            if not waiter.done():
                waiter.set_result(None)
        self._room.clear()
