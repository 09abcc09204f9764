"""Where sockets arrive: one subject, and a table of the reply subjects that spoke to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from micro.errors import CodecError, ConnectionLost, SocketClosed
from micro.message import Message
from micro.transport.contract import Accept, Listener
from micro_nats.connection.connection import Connection, Subscription
from micro_nats.counters import Counters
from micro_nats.transport.outbox import Outbox
from micro_nats.transport.sockets import AcceptedSocket, bundle_number
from micro_nats.wire.envelope import CloseFrame, decode_bundle, decode_json, is_json

__all__ = ["LONGEST_REPLY", "METADATA", "NatsListener"]

LONGEST_REPLY = 1024
"""Bytes of a reply subject. With a longer one an answer's line might pass the server's limit for
lines, upon which it would close this connection."""

METADATA: Mapping[str, str] = MappingProxyType({"envelope": "msgpack"})
"""What says that a listener understands bundles."""


class NatsListener(Listener):
    """One subscription; a socket for each peer that sends to it.

    Args:
        address: The subject.
        accept: Asked for each socket's receiver.
        outbox: Where its sockets send.
        counters: Where oddities are counted.
        most: How many sockets it accepts at a time.
        gone: Called once when it is closed.
    """

    def __init__(
        self,
        address: str,
        accept: Accept,
        outbox: Outbox,
        counters: Counters,
        *,
        most: int,
        gone: Callable[[NatsListener], None],
    ) -> None:
        self._address = address
        self._accept = accept
        self._outbox = outbox
        self._counters = counters
        self._most = most
        self._gone = gone
        self._subscription: Subscription | None = None
        self.sockets: dict[str, AcceptedSocket] = {}
        self._lost: list[str] = []

    async def open(self, connection: Connection) -> None:
        """Subscribe."""
        self._subscription = await connection.subscribe(self._address, self._arrived)

    @property
    def address(self) -> str:
        """The subject; unguessable unless it was given."""
        return self._address

    @property
    def metadata(self) -> Mapping[str, str]:
        """That bundles are understood."""
        return METADATA

    async def drain(self) -> None:
        """Unsubscribe, and wait for what the server had routed here; see `Listener.drain`."""
        if self._subscription is not None:
            await self._subscription.drain()
        await self._outbox.inbound.settle()

    async def aclose(self) -> None:
        """Unsubscribe, and say goodbye on every socket."""
        if self._subscription is not None:
            self._subscription.unsubscribe()
            self._subscription = None
        for socket in list(self.sockets.values()):
            socket.close()
        self._outbox.flush()
        self._gone(self)

    def lose(self, error: ConnectionLost) -> None:
        """The connection broke, and replies may be lost: no socket goes on."""
        for socket in list(self.sockets.values()):
            if socket.binary:
                self._lost.append(socket.next_reply)
            socket.end(error)

    def restored(self) -> None:
        """Tell the peers of the lost sockets, who may not have noticed."""
        lost, self._lost = self._lost, []
        for reply in lost:
            self._outbox.put_close(reply)

    def _arrived(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del subject, headers
        if not data:
            self._greet(reply)
        elif not reply or len(reply) > LONGEST_REPLY:
            # go-micro has one socket for all of these, which can never answer.
            self._counters.without_reply += 1
        elif is_json(data):
            self._take_json(reply, data)
        else:
            self._take_bundle(reply, data)

    def _take_json(self, reply: str, data: bytes) -> None:
        try:
            messages = [decode_json(data)]
        except CodecError as error:
            self._counters.count_malformed(self._address, error)
            return
        socket = self.sockets.get(reply) or self._open(reply, binary=False)
        if socket is not None:
            self._push(socket, messages)

    def _take_bundle(self, reply: str, data: bytes) -> None:
        key, _, bundle = reply.rpartition(".")
        socket = self.sockets.get(key)
        try:
            messages = decode_bundle(data)
        except CloseFrame:
            if socket is not None:
                socket.end_after(SocketClosed("closed by the peer", refused=True))
            return
        except CodecError as error:
            self._counters.count_malformed(self._address, error)
            return
        if not key:
            self._counters.without_reply += 1
            return
        number = bundle_number(bundle)
        if socket is None or number != socket.bundle + 1:
            socket = self._begin(socket, reply, number)
        if socket is not None:
            socket.bundle = number
            self._push(socket, messages)

    def _begin(
        self, known: AcceptedSocket | None, reply: str, number: int
    ) -> AcceptedSocket | None:
        """Accept a socket with its first bundle; who sent any other learns that it was not taken.

        Of what came before on a socket that is not known nothing is known either: it may have run,
        and its answers may be lost. Before a gap all was taken, and the gap was not.
        """
        if known is None and number == 1:
            opened = self._open(reply.rpartition(".")[0], binary=True)
            if opened is not None:
                return opened
        self._counters.bundles_refused += 1
        if known is not None:
            if number <= known.bundle:
                return None  # repeated on its way
            reply = known.next_reply
            known.end(ConnectionLost("bundles were lost on their way"))
        self._outbox.put_close(reply)
        return None

    def _push(self, socket: AcceptedSocket, messages: list[Message]) -> None:
        socket.heard = self._outbox.clock
        if socket.probe:
            socket.probe = ""
        socket.received(messages)

    def _open(self, remote: str, *, binary: bool) -> AcceptedSocket | None:
        if len(self.sockets) >= self._most:
            self._counters.sockets_refused += 1
            return None
        socket = AcceptedSocket(
            self._outbox, remote, binary=binary, local=self._address, table=self.sockets
        )
        try:
            receiver = self._accept(socket)
        except BaseException:
            self.sockets.pop(remote, None)
            raise
        socket.attach(receiver)
        return socket

    def _greet(self, reply: str) -> None:
        """Answer whoever wants to know whether the address is taken."""
        if 0 < len(reply) <= LONGEST_REPLY:
            self._outbox.put_close(reply)
