"""Pseudo-sockets: conversations told apart by their reply subjects.

What a socket sends within one turn of the event loop leaves as one NATS message, a bundle, at the
turn's end; nothing waits for a timer. An idle socket holds no list, task or timer.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence

from micro.errors import (
    ConnectionLost,
    PayloadTooLarge,
    SocketClosed,
    TransportError,
)
from micro.message import Message
from micro.transport.contract import Receiver, Socket
from micro_nats.transport.outbox import MAX_WAITING_BYTES, Outbox, Sender
from micro_nats.wire.envelope import (
    MAX_MESSAGES,
    bundle_of,
    encode_json,
    pack_message,
)

__all__ = ["AcceptedSocket", "DialedSocket", "NatsSocket", "bundle_number"]

log = logging.getLogger("micro.nats")

# Sharing saves what a message of its own costs, which is little beside this many bytes; whoever
# waits for the last of them starts late.
_ENOUGH = 128 << 10
_HEADERS = 8192


def bundle_number(text: str) -> int:
    """The number of a bundle as the end of a reply subject has it; 0 where it has none."""
    return int(text) if text.isdecimal() and len(text) < 16 else 0


class NatsSocket(Socket, Sender):
    """What both ends have in common.

    Attributes:
        seen: The outbox's clock when something last went either way.
    """

    __slots__ = (
        "_bundle",
        "_lost",
        "_outbox",
        "_parts",
        "_receiver",
        "_remote",
        "_size",
        "binary",
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
        self.binary = binary
        self.seen = outbox.clock

    @property
    def remote(self) -> str:
        """The peer's subject."""
        return self._remote

    @property
    def largest(self) -> int:
        """The server's limit less what headers and envelope take."""
        limit = self._outbox.limit - _HEADERS
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
            self._parts = [part]
            self._size = size
            self._bundle += 1
            outbox.touch(self)
        elif (
            self.binary
            and len(parts) < MAX_MESSAGES
            and self._size < _ENOUGH
            and self._size + size <= outbox.limit
        ):
            parts.append(part)
            self._size += size
        else:
            self.post()
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
        """Send what waits, then a goodbye. The receiver is told on a later turn."""
        receiver = self._receiver
        if receiver is None:
            return
        self.post()
        if self._receiver is None:
            return  # the connection turned out to be gone
        self._say_goodbye()
        self._retire()
        self._outbox.call_soon(receiver.closed, SocketClosed("closed by this end"))

    def post(self) -> None:
        """Send what waits, as one bundle."""
        parts = self._parts
        if parts is None:
            return
        self._parts = None
        self.seen = self._outbox.clock
        data = bundle_of(parts) if self.binary else parts[0]
        self._outbox.put(self._remote, self._reply(), data)

    def received(self, messages: Sequence[Message]) -> None:
        """Hand messages on, when their turn has come."""
        receiver = self._receiver
        if receiver is None:
            return
        self.seen = self._outbox.clock
        self._outbox.inbound.push(self._push, messages, receiver.awaited)

    def _push(self, messages: Sequence[Message]) -> None:
        if self._receiver is None:
            return
        try:
            self._receiver.received(messages)
        except Exception:
            log.exception("a receiver's received() failed for %s", self._remote)

    def end_after(self, error: TransportError) -> None:
        """Close as `end` does, after all that has arrived was handed on."""
        self._outbox.inbound.after(lambda: self.end(error))

    def end(self, error: TransportError) -> None:
        """Close without a word to the peer; what waits is dropped."""
        receiver = self._receiver
        if receiver is None:
            return
        self._parts = None
        self._lost = isinstance(error, ConnectionLost)
        self._retire()
        try:
            receiver.closed(error)
        except Exception:
            # One bad receiver must not keep the others from learning of a lost connection.
            log.exception("a receiver's closed() failed for %s", self._remote)

    def _retire(self) -> None:
        self._receiver = None
        self._forget()

    def _why_closed(self) -> TransportError:
        cls = ConnectionLost if self._lost else SocketClosed
        return cls(f"the socket to {self._remote!r} is closed", refused=True)

    @abstractmethod
    def _say_goodbye(self) -> None:
        """Tell a peer that knows of the socket and understands it."""

    @abstractmethod
    def _reply(self) -> str:
        """The reply subject of the next bundle."""

    @abstractmethod
    def _forget(self) -> None:
        """Take the socket off its table."""


class DialedSocket(NatsSocket):
    """The end that dialled. Its place below the process's inbox is its number in base 36."""

    __slots__ = ("_prefix", "_table", "_token")

    def __init__(
        self,
        outbox: Outbox,
        remote: str,
        *,
        binary: bool,
        prefix: str,
        token: str,
        table: dict[str, DialedSocket],
    ) -> None:
        super().__init__(outbox, remote, binary=binary)
        self._prefix = prefix
        self._token = token
        self._table = table
        table[token] = self

    @property
    def local(self) -> str:
        """The subject that the peer answers to."""
        return self._prefix + self._token

    def departed(self, bundle: int | None) -> None:
        """The peer said goodbye, and which was the first bundle that it did not take."""
        error = SocketClosed("closed by the peer")
        error.bundle = bundle
        self.end_after(error)

    def _say_goodbye(self) -> None:
        if self.binary and self._bundle > 0:
            self._outbox.put_close(self._remote, self._reply())

    def _reply(self) -> str:
        if self.binary:
            return f"{self._prefix}{self._token}.{self._bundle}"
        return self._prefix + self._token

    def _forget(self) -> None:
        self._table.pop(self._token, None)


class AcceptedSocket(NatsSocket):
    """The end that was dialled, known by the reply subject that it answers to.

    Attributes:
        bundle: The number of the newest bundle that was taken.
        heard: The outbox's clock when the peer last sent something.
        probe: A reply subject to send with, so that the server says if the peer is gone.
    """

    __slots__ = ("_local", "_table", "bundle", "heard", "probe")

    def __init__(
        self,
        outbox: Outbox,
        remote: str,
        *,
        binary: bool,
        local: str,
        table: dict[str, AcceptedSocket],
    ) -> None:
        super().__init__(outbox, remote, binary=binary)
        self._local = local
        self._table = table
        self.bundle = 0
        self.heard = outbox.clock
        self.probe = ""
        table[remote] = self

    @property
    def local(self) -> str:
        """The listener's subject."""
        return self._local

    @property
    def next_reply(self) -> str:
        """The reply subject of the bundle after the newest: where a goodbye goes."""
        return f"{self._remote}.{self.bundle + 1}"

    def _say_goodbye(self) -> None:
        if self.binary:
            self._outbox.put_close(self.next_reply)

    def _reply(self) -> str:
        return self.probe

    def _forget(self) -> None:
        self._table.pop(self._remote, None)
