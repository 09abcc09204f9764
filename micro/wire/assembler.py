"""Frames of one socket to whole messages and back: chunks, and waiting for capacity.

Client and server use it alike. A frame that is neither a chunk nor sent to a full socket does not
need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from micro.concurrency.budget import ByteBudget, process_budget
from micro.errors import MicroError, ResourceExhausted
from micro.message import Message
from micro.transport.contract import Socket
from micro.wire.chunks import Chunker, OnStalled
from micro.wire.flow import ReceiveWindow
from micro.wire.limits import ALWAYS_FITS_BYTES, PEER_BUDGET_BYTES, process_body_limit

__all__ = ["Assembler"]


class Assembler:
    """Sends and receives messages of any size over one socket.

    Args:
        socket: The socket.
        send_signal: Sends a frame without a body to the peer; never raises.
        on_stalled: Called for a message whose chunks stopped arriving; it is dropped.
        limit: The largest body, in bytes; that of the process when not given.
    """

    __slots__ = ("_budget", "_chunker", "_limit", "_on_stalled", "_send_signal", "_socket")

    def __init__(
        self,
        socket: Socket,
        send_signal: Callable[[dict[str, str]], None],
        *,
        on_stalled: OnStalled,
        limit: int | None = None,
    ) -> None:
        self._socket = socket
        self._send_signal = send_signal
        self._on_stalled = on_stalled
        self._limit = limit
        self._budget: ByteBudget | None = None
        # Made when it is needed: most of many idle sockets never see a chunk.
        self._chunker: Chunker | None = None

    @property
    def budget(self) -> ByteBudget:
        """The bytes that partial bodies and streams of this peer may hold together."""
        if self._budget is None:
            self._budget = ByteBudget(PEER_BUDGET_BYTES, process_budget())
        return self._budget

    def fits(self, body: bytes) -> bool:
        """Whether a body surely fits one frame."""
        return len(body) <= ALWAYS_FITS_BYTES or len(body) <= self._socket.largest

    async def send(self, message: Message) -> int:
        """Send a message to a native peer, in one frame or in chunks.

        Returns:
            The number of the bundle that has its last frame.

        Raises:
            PayloadTooLarge: the body is over the limit.
            MicroError: the error given to `abort`, or the socket's.
        """
        if self.fits(message.body):
            return await self.send_frame(message)
        return await self._chunks().send(message)

    async def send_frame(self, message: Message) -> int:
        """Send one frame; waits while the socket has no capacity.

        Raises:
            MicroError: the socket's error.
        """
        while True:
            try:
                return self._socket.send(message)
            except ResourceExhausted:
                await self._socket.drain()
                # `drain` may return at once; a turn later the socket has sent what waited.
                await asyncio.sleep(0)

    def receive(self, message: Message, window: ReceiveWindow | None = None) -> Message | None:
        """Take a frame for which `is_chunk` holds.

        Args:
            message: The frame.
            window: That of the stream that it belongs to, if any: while it is full, the peer
                does not go on with the next chunk.

        Returns:
            The whole message, possibly compressed, when this was its last chunk.

        Raises:
            MicroError: the message cannot be accepted; its other chunks are ignored.
        """
        return self._chunks().receive(message, window)

    def abort(self, id: str, error: MicroError) -> None:
        """Make the `send` of chunks with this id, if any, raise `error`."""
        if self._chunker is not None:
            self._chunker.abort(id, error)

    def drop(self, id: str) -> None:
        """Drop the chunks that arrived under this id."""
        if self._chunker is not None:
            self._chunker.drop(id)

    def close(self, id: str) -> None:
        """Drop what is partly sent or partly received under this id: its call has ended."""
        if self._chunker is not None:
            self._chunker.close(id)

    def shutdown(self) -> None:
        """Drop everything: the socket is closed."""
        if self._chunker is not None:
            self._chunker.shutdown()

    def _chunks(self) -> Chunker:
        if self._chunker is None:
            self._chunker = Chunker(
                self._socket,
                self._send_signal,
                budget=self.budget,
                on_stalled=self._on_stalled,
                limit=self._limit or process_body_limit().bytes,
            )
        return self._chunker
