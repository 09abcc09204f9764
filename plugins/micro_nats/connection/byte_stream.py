"""The byte stream below a link: a TCP or TLS connection of the event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

__all__ = ["HIGH_WATER_BYTES", "LOW_WATER_BYTES", "ByteStream", "Fail", "Receive", "TcpStream"]

HIGH_WATER_BYTES = 8 << 20
LOW_WATER_BYTES = 2 << 20

Receive = Callable[[bytes], None]
Fail = Callable[[Exception], None]


class ByteStream(ABC):
    """An open connection to a server, whose reading has not begun."""

    @abstractmethod
    def start(self, receive: Receive, fail: Fail) -> None:
        """Begin to read.

        Args:
            receive: Called with all bytes, those that were read before the start as well.
            fail: Called when the connection ends, for any reason; possibly more than once.
        """

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Send bytes; returns how many bytes wait to be sent."""

    @property
    @abstractmethod
    def buffered(self) -> int:
        """Bytes that wait to be sent."""

    @abstractmethod
    async def wait_writable(self) -> None:
        """Wait while more than 8 MiB wait to be sent, until 2 MiB do or the connection ends."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection without sending what waits."""

    @abstractmethod
    async def close(self, seconds: float) -> None:
        """Send what waits, for at most `seconds`, and close."""


class TcpStream(ByteStream, asyncio.Protocol):
    """A connection whose event loop transport calls this object.

    Args:
        wire: The transport; this object becomes its protocol at once.
        left: Bytes that were read before.
        lower: The transport below TLS, the same as `wire` without TLS.
        owner: What must live as long as the connection: a StreamWriter closes its transport when
            it is collected.
    """

    def __init__(
        self, wire: asyncio.Transport, left: bytes, *, lower: asyncio.BaseTransport, owner: object
    ) -> None:
        self.wire = wire
        self._lower = lower
        self._owner = owner
        self._early = [left] if left else []
        self._receive: Receive = self._early.append
        self._fail: Fail | None = None
        self._ended: Exception | None = None
        self._closed = asyncio.get_running_loop().create_future()
        self._waiters: list[asyncio.Future[None]] = []
        # The replaced protocol is told of the end as well; its StreamWriter waits for that.
        self._replaced = cast(asyncio.Protocol, wire.get_protocol())
        wire.set_protocol(self)
        wire.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)

    def start(self, receive: Receive, fail: Fail) -> None:
        """Begin to read; see `ByteStream.start`."""
        self._receive, self._fail = receive, fail
        early, self._early = b"".join(self._early), []
        if early:
            receive(early)
        if self._ended is not None or self.wire.is_closing():
            ended = self._ended or ConnectionError("the connection was closed")
            asyncio.get_running_loop().call_soon(fail, ended)
        else:
            self.wire.resume_reading()

    def write(self, data: bytes) -> int:
        """Send bytes; returns how many bytes wait to be sent."""
        self.wire.write(data)
        return self.wire.get_write_buffer_size()

    @property
    def buffered(self) -> int:
        """Bytes in the event loop's buffer."""
        return self.wire.get_write_buffer_size()

    async def wait_writable(self) -> None:
        """Wait until a full buffer is low again, or the connection has ended."""
        # At or below the high mark the event loop never paused, so it would never resume.
        if self.wire.is_closing() or self.buffered <= HIGH_WATER_BYTES:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def abort(self) -> None:
        """End the connection without sending what waits."""
        self.wire.abort()
        self._wake()

    async def close(self, seconds: float) -> None:
        """Send what waits, for at most `seconds`, and close."""
        if seconds > 0 and not self._closed.done():
            self.wire.close()
            await asyncio.wait([self._closed], timeout=seconds)
        self.wire.abort()
        if self._lower is not self.wire:
            cast(asyncio.Transport, self._lower).abort()
        # The event loop closes the file descriptor in its next turn.
        await asyncio.sleep(0)
        self._wake()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        self._receive(data)

    def eof_received(self) -> None:
        """End the connection: the server closed its half."""
        self._end(ConnectionError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection, by either side."""
        self._replaced.connection_lost(exc)
        if not self._closed.done():
            self._closed.set_result(None)
        self._wake()
        self._end(exc or ConnectionError("the connection was closed"))

    def resume_writing(self) -> None:
        """Wake the tasks that wait for the buffer to be low."""
        self._wake()

    def _end(self, error: Exception) -> None:
        if self._fail is not None:
            self._fail(error)
        else:
            self._ended = error

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
