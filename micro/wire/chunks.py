"""Messages that are too large for one frame travel in pieces, between native peers.

The first piece has the message's own headers and `Micro-Pieces`, the size of the whole body; the
others have the id alone. The receiver says `more` for each piece, and no more than a few are under
way at a time, so that a large message leaves room for the small ones on the same socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from micro.errors import MicroError, PayloadTooLarge
from micro.message import Message
from micro.transport.contract import Socket
from micro.wire.flow import Outflow
from micro.wire.headers import ID, PIECES, SIGNAL

__all__ = ["LARGEST", "SMALL", "Pieces", "is_piece"]

SMALL = 16_384
"""Bytes that every transport takes in one message; only above it is the exact limit asked for."""

LARGEST = 64 << 20
"""Bytes of the largest body that is put together, and sent, in pieces."""

_SMALLEST = 1024
_UNDER_WAY = 4
_MOST_WAITING = 256 << 20


@dataclass(slots=True)
class _Half:
    """A message that is still coming in."""

    headers: dict[str, str]
    total: int
    charge: int
    body: bytearray = field(default_factory=bytearray)


class Pieces:
    """What one socket has in pieces, either way.

    Args:
        socket: The socket.
    """

    __slots__ = ("_coming", "_going", "_promised", "_socket")

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._coming: dict[str, _Half] = {}
        self._going: dict[str, Outflow] = {}
        self._promised = 0

    async def send(self, message: Message, *, limit: int = LARGEST) -> int:
        """Send a message in pieces, waiting for the receiver's word between them.

        Returns:
            The number of the bundle that the last piece left in.

        Raises:
            PayloadTooLarge: the body is over the limit.
            MicroError: what `stop` was told, or the socket's error.
        """
        headers, body = message
        if len(body) > limit:
            raise PayloadTooLarge(f"{len(body)} bytes are over the limit of {limit}")
        id = headers[ID]
        size = max(_SMALLEST, self._socket.largest)
        outflow = self._going.get(id)
        if outflow is None:
            outflow = self._going[id] = Outflow(_UNDER_WAY)
        view = memoryview(body)
        await outflow.take()
        first = {**headers, PIECES: str(len(body))}
        bundle = self._socket.send(Message(first, bytes(view[:size])))
        for start in range(size, len(body), size):
            await outflow.take()
            rest = {ID: id, SIGNAL: "piece"}
            bundle = self._socket.send(Message(rest, bytes(view[start : start + size])))
        return bundle

    def stop(self, id: str, error: MicroError) -> None:
        """Whoever sends pieces under this id need not go on."""
        if (outflow := self._going.get(id)) is not None:
            outflow.fail(error)

    def close(self, id: str) -> None:
        """The call with this id is over: drop what is half sent or half received."""
        self._going.pop(id, None)
        self.forget(id)

    def take(self, message: Message, say: Callable[[dict[str, str]], None]) -> Message | None:
        """Take a frame that is part of a message in pieces.

        Args:
            message: The frame.
            say: Sends a frame to the peer.

        Returns:
            The whole message when this was its last piece.

        Raises:
            PayloadTooLarge: the peer announced more than the limit.
        """
        headers, body = message
        id = headers.get(ID, "")
        signal = headers.get(SIGNAL)
        if signal == "more":
            if (outflow := self._going.get(id)) is not None:
                outflow.add(1)
            return None
        if signal != "piece":
            self._begin(id, headers)
        half = self._coming.get(id)
        if half is None:
            return None
        half.body += body
        say({ID: id, SIGNAL: "more"})
        if len(half.body) < half.total:
            return None
        self.forget(id)
        if len(half.body) > half.total:
            raise PayloadTooLarge("more bytes came than were announced", refused=True)
        return Message(half.headers, bytes(half.body))

    def forget(self, id: str) -> None:
        """Drop what has come so far under this id."""
        if (half := self._coming.pop(id, None)) is not None:
            self._promised -= half.charge

    def _begin(self, id: str, headers: dict[str, str]) -> None:
        text = headers[PIECES]
        total = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else LARGEST + 1
        plain = {name: value for name, value in headers.items() if name != PIECES}
        # What announces little is charged more, or millions of them could wait for their rest.
        charge = max(SMALL, total + sum(map(len, plain)) + sum(map(len, plain.values())))
        if total > LARGEST or self._promised + charge > _MOST_WAITING:
            raise PayloadTooLarge(
                f"{text[:12]} bytes are over the limit of {LARGEST}", refused=True
            )
        self.forget(id)
        self._promised += charge
        self._coming[id] = _Half(plain, total, charge)


def is_piece(headers: Mapping[str, str]) -> bool:
    """Whether a frame is part of a message in pieces, or a word about one."""
    return PIECES in headers or headers.get(SIGNAL) in ("piece", "more")
