"""Messages that are too large for one frame travel in chunks, between native peers.

The first chunk has the message's own headers and `Micro-Pieces`, the size of the whole body; the
others have the id alone. The receiver signals `more` for each chunk, and only a few are in flight
at a time, so that a large message leaves capacity for the small ones on the same socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from micro.errors import MicroError, PayloadTooLarge
from micro.message import Message
from micro.transport.contract import Socket
from micro.wire.flow import SendCredit
from micro.wire.headers import CHUNKED, ID, SIGNAL

__all__ = ["ALWAYS_FITS_BYTES", "MAX_BODY_BYTES", "Chunker", "is_chunk"]

ALWAYS_FITS_BYTES = 16_384
"""A body of this size fits one message of every transport; `Socket.largest` matters above it."""

MAX_BODY_BYTES = 64 << 20
"""The largest body that is sent, or put together, in chunks."""

_MIN_CHUNK_BYTES = 1024
_CHUNKS_IN_FLIGHT = 4
_MAX_RESERVED_BYTES = 256 << 20


@dataclass(slots=True)
class _Incoming:
    """A message of which some chunks have arrived."""

    headers: dict[str, str]
    total: int
    reserved: int
    body: bytearray = field(default_factory=bytearray)


class Chunker:
    """Messages in chunks on one socket, in both directions.

    Args:
        socket: The socket.
        send_signal: Sends a frame without a body to the peer; never raises.
    """

    __slots__ = ("_incoming", "_outgoing", "_reserved", "_send_signal", "_socket")

    def __init__(self, socket: Socket, send_signal: Callable[[dict[str, str]], None]) -> None:
        self._socket = socket
        self._send_signal = send_signal
        self._incoming: dict[str, _Incoming] = {}
        self._outgoing: dict[str, SendCredit] = {}
        self._reserved = 0

    async def send(self, message: Message, *, limit: int = MAX_BODY_BYTES) -> int:
        """Send a message in chunks, at the pace that the receiver signals.

        Returns:
            The number of the bundle that has the last chunk.

        Raises:
            PayloadTooLarge: the body is over the limit.
            MicroError: the error given to `abort`, or the socket's.
        """
        headers, body = message
        if len(body) > limit:
            raise PayloadTooLarge(f"{len(body)} bytes are over the limit of {limit}")
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

    def receive(self, message: Message) -> Message | None:
        """Take a frame for which `is_chunk` holds.

        Returns:
            The whole message when this was its last chunk.

        Raises:
            PayloadTooLarge: the peer announced, or sent, more than the limit.
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
        incoming.body += body
        self._send_signal({ID: id, SIGNAL: "more"})
        if len(incoming.body) < incoming.total:
            return None
        self.drop(id)
        if len(incoming.body) > incoming.total:
            raise PayloadTooLarge("more bytes arrived than were announced", refused=True)
        return Message(incoming.headers, bytes(incoming.body))

    def drop(self, id: str) -> None:
        """Drop the chunks that arrived under this id."""
        if (incoming := self._incoming.pop(id, None)) is not None:
            self._reserved -= incoming.reserved

    def _begin(self, id: str, headers: dict[str, str]) -> None:
        text = headers[CHUNKED]
        total = _size_from(text)
        plain = {name: value for name, value in headers.items() if name != CHUNKED}
        # A small announcement reserves a minimum, or millions of them could wait for their rest.
        reserved = max(
            ALWAYS_FITS_BYTES, total + sum(map(len, plain)) + sum(map(len, plain.values()))
        )
        if total > MAX_BODY_BYTES or self._reserved + reserved > _MAX_RESERVED_BYTES:
            raise PayloadTooLarge(
                f"{text[:12]} bytes are over the limit of {MAX_BODY_BYTES}", refused=True
            )
        self.drop(id)
        self._reserved += reserved
        self._incoming[id] = _Incoming(plain, total, reserved)


def is_chunk(headers: Mapping[str, str]) -> bool:
    """Whether a frame is a chunk of a message, or the receiver's signal for one."""
    return CHUNKED in headers or headers.get(SIGNAL) in ("piece", "more")


def _size_from(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 12:
        return int(text)
    return MAX_BODY_BYTES + 1
