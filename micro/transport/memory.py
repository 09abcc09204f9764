"""The in-memory transport: the reference for others, and what tests run on.

It behaves as the NATS transport does: dialling always succeeds, the listener learns of a socket
with its first message, and an address where no one listens is found out by sending to it. What is
sent within one turn of the event loop travels as one bundle and is pushed on a later turn.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextvars import copy_context
from itertools import count
from types import MappingProxyType

from micro.errors import (
    Conflict,
    ConnectionLost,
    InvalidName,
    NoResponders,
    PayloadTooLarge,
    ResourceExhausted,
    SocketClosed,
    TransportError,
)
from micro.message import Message
from micro.names import check_topic
from micro.transport.contract import Accept, Listener, Receiver, Socket, Transport

__all__ = ["MemoryTransport"]

_NO_METADATA: Mapping[str, str] = MappingProxyType({})

_HEADERS = 8192


class MemoryTransport(Transport):
    """One network in this process: its sockets reach its listeners, and no others.

    Args:
        max_payload: The most bytes of one message, headers and body together.
        max_pending: How many messages may wait to be sent on one socket.
        max_pending_bytes: How many bytes may wait to be sent on one socket.

    Attributes:
        is_closed: Whether `close` was called.
    """

    def __init__(
        self,
        *,
        max_payload: int = 1024 * 1024,
        max_pending: int = 65_536,
        max_pending_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self.max_payload = max_payload
        self.max_pending = max_pending
        self.max_pending_bytes = max_pending_bytes
        # Receivers run in this context, not in the sender's: no deadline or trace leaks across.
        self._context = copy_context()
        self._prefix = f"_memory.{secrets.token_hex(11)}"
        self._numbers = count(1)
        self._listeners: dict[str, _Listener] = {}
        self._sockets: set[_Socket] = set()
        self.is_closed: bool = False

    async def dial(
        self,
        address: str,
        receiver: Receiver,
        *,
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002  it has one way to speak only
    ) -> Socket:
        """Open a socket; it always succeeds, see `Transport.dial`."""
        self._check_open()
        try:
            check_topic(address)
        except InvalidName as error:
            detail = f"cannot dial {address!r}: {error.detail}"
            raise TransportError(detail, refused=True) from error
        socket = _Socket(self, f"{self._prefix}.{next(self._numbers)}", address)
        socket.receiver = receiver
        self._sockets.add(socket)
        return socket

    async def listen(self, accept: Accept, *, address: str = "") -> Listener:
        """Start listening; see `Transport.listen`."""
        self._check_open()
        address = check_topic(address) if address else f"_memory.{secrets.token_hex(11)}"
        if address in self._listeners:
            raise Conflict(f"address {address!r} is taken")
        listener = self._listeners[address] = _Listener(self, address, accept)
        return listener

    def close(self) -> None:
        """Break every connection, as when a server is gone; a second call does nothing."""
        self.is_closed = True
        self._listeners.clear()
        for socket in tuple(self._sockets):
            socket.end(ConnectionLost("the in-memory network was closed"))

    def _check_open(self) -> None:
        if self.is_closed:
            raise ConnectionLost("the in-memory network was closed", refused=True)


class _Socket(Socket):
    """Both ends are of this class; `listener` tells the accepted one."""

    __slots__ = (
        "_bundle",
        "_closed",
        "_local",
        "_network",
        "_outbox",
        "_peer",
        "_pending_bytes",
        "_remote",
        "listener",
        "receiver",
    )

    receiver: Receiver

    in_process = True

    def __init__(self, network: MemoryTransport, local: str, remote: str) -> None:
        self._network = network
        self._local = local
        self._remote = remote
        self._peer: _Socket | None = None
        self._outbox: list[Message] | None = None
        self._pending_bytes = 0
        self._bundle = 0
        self._closed = False
        self.listener: _Listener | None = None

    @property
    def local(self) -> str:
        return self._local

    @property
    def remote(self) -> str:
        return self._remote

    @property
    def largest(self) -> int:
        """The network's limit less what headers may take."""
        return self._network.max_payload - _HEADERS

    def send(self, message: Message) -> int:
        if self._closed:
            raise self._why_closed()
        network = self._network
        size = len(message.body)
        for name, value in message.headers.items():
            size += len(name) + len(value)
        if size > network.max_payload:
            raise PayloadTooLarge(f"a message of {size} bytes; the limit is {network.max_payload}")
        if self._outbox is None:
            # The first message of a turn: one callback sends all of the turn, as with a network.
            self._outbox = []
            self._bundle += 1
            self._soon_flush()
        elif (
            len(self._outbox) >= network.max_pending
            or self._pending_bytes + size > network.max_pending_bytes
        ):
            raise ResourceExhausted(
                f"{len(self._outbox)} messages of {self._pending_bytes} bytes wait to be sent",
                refused=True,
            )
        self._outbox.append(message)
        self._pending_bytes += size
        return self._bundle

    async def drain(self) -> None:
        if self._closed:
            raise self._why_closed()
        network = self._network
        if self._outbox is not None and (
            len(self._outbox) * 2 > network.max_pending
            or self._pending_bytes * 2 > network.max_pending_bytes
        ):
            await asyncio.sleep(0)  # one turn sends all that waits

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # After the flush that may be due: the loop keeps the order of its callbacks.
        asyncio.get_running_loop().call_soon(self._say_closed, context=self._network._context)

    def end(self, error: TransportError) -> None:
        """Close without the peer's knowledge; what waits to be sent is dropped."""
        if self._closed:
            return
        self._closed = True
        self._outbox = None
        self._forget()
        self.receiver.closed(error)

    def _why_closed(self) -> TransportError:
        cls = ConnectionLost if self._network.is_closed else SocketClosed
        return cls(f"the socket to {self._remote!r} is closed", refused=True)

    def _soon_flush(self) -> None:
        asyncio.get_running_loop().call_soon(self._flush, context=self._network._context)

    def _flush(self) -> None:
        messages, self._outbox, self._pending_bytes = self._outbox, None, 0
        if messages is None:
            return
        peer = self._peer or self._connect()
        if peer is None or not peer._takes():
            if not self._closed:
                detail = f"no one listens at {self._remote!r}"
                self.end(NoResponders(detail, bundle=self._bundle))
                self._end_peer()
        elif not peer._closed:
            peer.receiver.received(messages)

    def _connect(self) -> _Socket | None:
        listener = self._network._listeners.get(self._remote)
        if listener is None:
            return None
        self._peer = peer = _Socket(self._network, self._remote, self._local)
        peer._peer = self
        peer.listener = listener
        listener.sockets.add(peer)
        self._network._sockets.add(peer)
        peer.receiver = listener.accept(peer)
        return peer

    def _takes(self) -> bool:
        return self.listener is None or self.listener.is_open

    def _say_closed(self) -> None:
        self._forget()
        self.receiver.closed(SocketClosed("closed by this end"))
        self._end_peer()

    def _end_peer(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer._peer = None
            peer.end(SocketClosed("closed by the peer", refused=True))

    def _forget(self) -> None:
        self._network._sockets.discard(self)
        if self.listener is not None:
            self.listener.sockets.discard(self)


class _Listener(Listener):
    """Its place in the network's table is what makes it reachable."""

    def __init__(self, network: MemoryTransport, address: str, accept: Accept) -> None:
        self._network = network
        self._address = address
        self.accept = accept
        self.sockets: set[_Socket] = set()

    @property
    def address(self) -> str:
        return self._address

    @property
    def metadata(self) -> Mapping[str, str]:
        return _NO_METADATA

    @property
    def is_open(self) -> bool:
        """Whether messages and new sockets are still taken in."""
        return self._network._listeners.get(self._address) is self

    async def drain(self) -> None:
        # All that was sent before is pushed by callbacks that stand before this one in the loop.
        await asyncio.sleep(0)
        self._shut()

    async def aclose(self) -> None:
        self._shut()
        for socket in tuple(self.sockets):
            socket.close()
        # Their Receivers, and those of their peers, are told on the loop's next turn.
        await asyncio.sleep(0)

    def _shut(self) -> None:
        if self.is_open:
            del self._network._listeners[self._address]
