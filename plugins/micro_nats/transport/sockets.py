"""Pseudo-sockets: conversations told apart by their reply subjects.

What a socket sends within one turn of the event loop leaves as one NATS message, a bundle, at the
end of the turn; nothing waits for a timer. An idle socket holds no list, task or timer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from micro.errors import ConnectionLost, PayloadTooLarge, SocketClosed, TransportError
from micro.message import Message
from micro.transport.contract import Receiver, Socket
from micro_nats.transport.outbox import MAX_WAITING_BYTES, Outbox, Sender
from micro_nats.wire.envelope import MAX_MESSAGES, bundle_of, encode_json, pack_message

__all__ = ["NatsSocket", "bundle_number"]

# Above this size sharing a bundle saves little and delays the last message in it.
_SHARED_BYTES = 128 << 10
# Reserved for headers, so that a body of `largest` bytes fits into one message.
_HEADER_BYTES = 8192
# Bounds the work of int() for a text that a peer chose.
_MAX_NUMBER_DIGITS = 15


def bundle_number(text: str) -> int:
    """The number of a bundle, from the end of a reply subject; 0 if that holds none."""
    return int(text) if text.isdecimal() and len(text) <= _MAX_NUMBER_DIGITS else 0


class NatsSocket(Socket, Sender):
    """What both ends have in common.

    Attributes:
        binary: Whether it speaks MessagePack bundles, not go-micro's JSON envelope.
        seen: The outbox's clock when something last went either way.
        delay: See `Socket.delay`.
    """

    __slots__ = (
        "_bundle",
        "_lost",
        "_max_messages",
        "_outbox",
        "_parts",
        "_receiver",
        "_remote",
        "_size",
        "binary",
        "delay",
        "seen",
    )

    def __init__(self, outbox: Outbox, remote: str, *, binary: bool) -> None:
        self._outbox = outbox
        self._remote = remote
        self._receiver: Receiver | None = None
        self._parts: list[bytes] | None = None
        self._size = 0
        self._bundle = 0
        self._lost = False
        self._max_messages = MAX_MESSAGES if binary else 1
        self.binary = binary
        self.delay = 0.0
        self.seen = outbox.clock

    @property
    def remote(self) -> str:
        """The peer's subject."""
        return self._remote

    @property
    def largest(self) -> int:
        """The server's limit less what headers and envelope take."""
        limit = self._outbox.limit - _HEADER_BYTES
        # Base64 makes four bytes of three.
        return limit if self.binary else limit * 3 // 4

    def attach(self, receiver: Receiver) -> None:
        """Give the socket its receiver; it is open from now on."""
        self._receiver = receiver

    def send(self, message: Message) -> int:
        """Hand a message over; it leaves when this turn ends. See `Socket.send`."""
        if self._receiver is None:
            raise self._why_closed()
        outbox = self._outbox
        part = pack_message(message) if self.binary else encode_json(message)
        size = len(part)
        if size > outbox.limit:
            raise PayloadTooLarge(f"{size} bytes are over the server's limit {outbox.limit}")
        if outbox.waiting > MAX_WAITING_BYTES:
            outbox.check_capacity()
        outbox.waiting += size
        parts = self._parts
        if parts is None:
            # The first of this turn: the outbox asks for the bundle when the turn ends.
            self._parts = [part]
            self._size = size
            self._bundle += 1
            outbox.touch(self)
        elif (
            len(parts) < self._max_messages
            and self._size < _SHARED_BYTES
            and self._size + size <= outbox.limit
        ):
            parts.append(part)
            self._size += size
        else:
            # Full, or so large that sharing saves little and delays the last message.
            self._post_parts(parts)
            self._parts = [part]
            self._size = size
            self._bundle += 1
        return self._bundle

    async def drain(self) -> None:
        """Wait while more than 8 MiB wait to be sent on the connection."""
        if self._receiver is None:
            raise self._why_closed()
        await self._outbox.connection.wait_writable()

    def close(self) -> None:
        """Send what waits, then a close frame. The receiver is told on a later turn."""
        receiver = self._receiver
        if receiver is None:
            return
        if self._parts is not None:
            self._post_parts(self._parts)
            if self._receiver is None:
                return  # it ended with its last answer
        self._put_close()
        self._release()
        self._outbox.call_soon(receiver.closed, SocketClosed("closed by this end"))

    def post(self) -> None:
        """Put what waits into the outbox, as one bundle."""
        if self._parts is not None:
            self._post_parts(self._parts)

    def _post_parts(self, parts: list[bytes]) -> None:
        self._parts = None
        self.seen = self._outbox.clock
        data = bundle_of(parts) if self.binary else parts[0]
        self._outbox.put(self._remote, self._reply(), data)

    def dispatch(self, messages: Sequence[Message], size: int) -> None:
        """Give the messages of a bundle of `size` bytes to the receiver, in their turn."""
        receiver = self._receiver
        if receiver is None:
            return
        self.seen = self._outbox.clock
        outbox = self._outbox
        outbox.inbound.push(
            self._receive, messages, size, receiver.awaited, outbox.connection.delay
        )

    def _receive(self, messages: Sequence[Message], delay: float) -> None:
        if self._receiver is None:
            return
        self.delay = delay
        try:
            self._receiver.received(messages)
        except Exception:
            text = "a receiver's received() failed for %r"
            self._outbox.log_limit.exception("received", text, self._remote)

    def end_after_inbound(self, error: TransportError) -> None:
        """Close as `end` does, after all that has arrived was received."""
        self._outbox.inbound.after(lambda: self.end(error))

    def end(self, error: TransportError) -> None:
        """Close without telling the peer; what waits is dropped."""
        receiver = self._receiver
        if receiver is None:
            return
        # Released before the receiver is told: what it sends from `closed` is refused.
        self._parts = None
        self._lost = isinstance(error, ConnectionLost)
        self._release()
        try:
            receiver.closed(error)
        except Exception:
            # One failing receiver must not keep the others from being closed.
            text = "a receiver's closed() failed for %r"
            self._outbox.log_limit.exception("closed", text, self._remote)

    def _release(self) -> None:
        self._receiver = None
        self._forget()

    def _why_closed(self) -> TransportError:
        cls = ConnectionLost if self._lost else SocketClosed
        return cls(f"the socket to {self._remote!r} is closed", refused=True)

    @abstractmethod
    def _put_close(self) -> None:
        """Tell a peer that knows of the socket and understands it."""

    @abstractmethod
    def _reply(self) -> str:
        """The reply subject of the next bundle."""

    @abstractmethod
    def _forget(self) -> None:
        """Remove the socket from its table."""
