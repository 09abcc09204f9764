"""Messages that are too large for one frame travel in chunks, between native peers.

The first chunk has the message's own headers and `Micro-Pieces`, the size of the whole body; the
others have the id alone. The receiver signals `more` for each chunk, and only a few are in flight
at a time, so that a large message leaves capacity for the small ones on the same socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from micro.concurrency.budget import ByteBudget
from micro.errors import MicroError, PayloadTooLarge, ResourceExhausted, Unavailable
from micro.message import Message
from micro.transport.contract import Socket
from micro.wire.flow import ReceiveWindow, SendCredit
from micro.wire.headers import CHUNKED, ID, SIGNAL
from micro.wire.limits import MAX_BODY_BYTES

__all__ = ["Chunker", "OnStalled", "is_chunk"]

_MIN_CHUNK_BYTES = 1024
_CHUNKS_IN_FLIGHT = 4
_MIN_CHARGE_BYTES = 16_384
_STALL_SECONDS = 10.0

OnStalled = Callable[[dict[str, str], MicroError], None]
"""Learns that a message did not arrive whole: the headers of its first chunk, and why."""


@dataclass(slots=True)
class _Incoming:
    """A message of which some chunks have arrived."""

    headers: dict[str, str]
    total: int
    charged: int
    moved: float
    unsignalled: int = 0
    body: bytearray = field(default_factory=bytearray)


class Chunker:
    """Messages in chunks on one socket, in both directions.

    Args:
        socket: The socket.
        send_signal: Sends a frame without a body to the peer; never raises.
        budget: The bytes that partial bodies on this socket may hold.
        on_stalled: Called for a message whose chunks stopped arriving.
        limit: The largest body.
    """

    __slots__ = (
        "_budget",
        "_incoming",
        "_limit",
        "_loop",
        "_on_stalled",
        "_outgoing",
        "_send_signal",
        "_socket",
        "_timer",
    )

    def __init__(
        self,
        socket: Socket,
        send_signal: Callable[[dict[str, str]], None],
        *,
        budget: ByteBudget,
        on_stalled: OnStalled,
        limit: int = MAX_BODY_BYTES,
    ) -> None:
        self._socket = socket
        self._send_signal = send_signal
        self._budget = budget
        self._on_stalled = on_stalled
        self._limit = limit
        self._incoming: dict[str, _Incoming] = {}
        self._outgoing: dict[str, SendCredit] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, message: Message) -> int:
        """Send a message in chunks, at the pace that the receiver signals.

        Returns:
            The number of the bundle that has the last chunk.

        Raises:
            PayloadTooLarge: the body is over the limit.
            MicroError: the error given to `abort`, or the socket's.
        """
        headers, body = message
        if len(body) > self._limit:
            raise PayloadTooLarge(f"{len(body)} bytes are over the limit of {self._limit}")
        id = headers[ID]
        size = max(_MIN_CHUNK_BYTES, self._socket.largest)
        credit = self._outgoing.get(id)
        if credit is None:
            credit = self._outgoing[id] = SendCredit(_CHUNKS_IN_FLIGHT)
        view = memoryview(body)
        await credit.acquire()
        first = {**headers, CHUNKED: str(len(body))}
        bundle = self._socket.send(Message(first, bytes(view[:size])))
        for start in range(size, len(body), size):
            await credit.acquire()
            rest = {ID: id, SIGNAL: "piece"}
            bundle = self._socket.send(Message(rest, bytes(view[start : start + size])))
        return bundle

    def abort(self, id: str, error: MicroError) -> None:
        """Make the `send` with this id, if any, raise `error`."""
        if (credit := self._outgoing.get(id)) is not None:
            credit.fail(error)

    def close(self, id: str) -> None:
        """Drop what is partly sent or partly received under this id: its call has ended."""
        self._outgoing.pop(id, None)
        self.drop(id)

    def shutdown(self) -> None:
        """Drop everything: the socket is closed."""
        for id in tuple(self._incoming):
            self.drop(id)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def receive(self, message: Message, window: ReceiveWindow | None = None) -> Message | None:
        """Take a frame for which `is_chunk` holds.

        Args:
            message: The frame.
            window: That of the stream that it belongs to; while it is full, the peer is not
                signalled to go on.

        Returns:
            The whole message when this was its last chunk.

        Raises:
            PayloadTooLarge: the peer announced, or sent, more than the limit.
            ResourceExhausted: partial bodies hold as many bytes as they may.
        """
        headers, body = message
        id = headers.get(ID, "")
        signal = headers.get(SIGNAL)
        if signal == "more":
            if (credit := self._outgoing.get(id)) is not None:
                credit.grant(1)
            return None
        if signal != "piece":
            self._begin(id, headers)
        incoming = self._incoming.get(id)
        if incoming is None:
            return None
        self._add(id, incoming, body)
        self._signal_more(id, incoming, window)
        if len(incoming.body) < incoming.total:
            return None
        self.drop(id)
        if len(incoming.body) > incoming.total:
            raise PayloadTooLarge("more bytes arrived than were announced", refused=True)
        return Message(incoming.headers, bytes(incoming.body))

    def drop(self, id: str) -> None:
        """Drop the chunks that arrived under this id."""
        if (incoming := self._incoming.pop(id, None)) is not None:
            self._budget.release(incoming.charged)

    def _begin(self, id: str, headers: dict[str, str]) -> None:
        total = _size_from(headers[CHUNKED], self._limit)
        plain = {name: value for name, value in headers.items() if name != CHUNKED}
        # An announcement alone is charged too, or millions of them could wait for their rest.
        charge = _MIN_CHARGE_BYTES + sum(map(len, plain)) + sum(map(len, plain.values()))
        self.drop(id)
        self._charge(charge)
        self._incoming[id] = _Incoming(plain, total, charge, self._loop.time())
        if self._timer is None:
            self._timer = self._loop.call_later(_STALL_SECONDS, self._sweep)

    def _add(self, id: str, incoming: _Incoming, body: bytes) -> None:
        try:
            self._charge(len(body))
        except ResourceExhausted:
            self.drop(id)
            raise
        incoming.charged += len(body)
        incoming.moved = self._loop.time()
        incoming.body += body

    def _charge(self, size: int) -> None:
        if not self._budget.acquire(size):
            raise ResourceExhausted(
                f"partial bodies hold {self._budget.held} bytes", retry_after=0.5, refused=True
            )

    def _signal_more(self, id: str, incoming: _Incoming, window: ReceiveWindow | None) -> None:
        incoming.unsignalled += 1
        if window is None or window.has_capacity:
            self._resume(id, incoming)
        else:
            window.when_capacity(partial(self._resume, id, incoming))

    def _resume(self, id: str, incoming: _Incoming) -> None:
        incoming.moved = self._loop.time()
        for _ in range(incoming.unsignalled):
            self._send_signal({ID: id, SIGNAL: "more"})
        incoming.unsignalled = 0

    def _sweep(self) -> None:
        """Drop what stopped arriving; what this side holds up has not stopped."""
        self._timer = None
        now = self._loop.time()
        for id, incoming in tuple(self._incoming.items()):
            if not incoming.unsignalled and now - incoming.moved >= _STALL_SECONDS:
                self.drop(id)
                detail = f"{len(incoming.body)} of {incoming.total} bytes arrived, then no more"
                self._on_stalled(incoming.headers, Unavailable(detail, refused=True))
        if self._incoming:
            oldest = min(incoming.moved for incoming in self._incoming.values())
            delay = max(1.0, oldest + _STALL_SECONDS - now)
            self._timer = self._loop.call_later(delay, self._sweep)


def is_chunk(headers: Mapping[str, str]) -> bool:
    """Whether a frame is a chunk of a message, or the receiver's signal for one."""
    return CHUNKED in headers or headers.get(SIGNAL) in ("piece", "more")


def _size_from(text: str, limit: int) -> int:
    """The size that a first chunk announces.

    Raises:
        PayloadTooLarge: it is no number, or over the limit.
    """
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else limit + 1
    if size > limit:
        raise PayloadTooLarge(f"{text[:12]} bytes are over the limit of {limit}", refused=True)
    return size
