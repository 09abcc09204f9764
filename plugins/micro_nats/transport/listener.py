"""Accepts sockets at one subject, and tells them apart by the reply subjects of their peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from micro.errors import CodecError, ConnectionLost, SocketClosed
from micro.transport.contract import Accept, Listener
from micro_nats.connection.connection import Connection, Subscription
from micro_nats.counters import Counters
from micro_nats.transport.accepted import AcceptedSocket, ExactSocket
from micro_nats.transport.outbox import Outbox
from micro_nats.transport.sockets import bundle_number
from micro_nats.wire.envelope import CloseFrame, decode_bundle, decode_json, is_json

__all__ = ["BUNDLES", "ENVELOPE", "MAX_REPLY_BYTES", "SINGLE_BUNDLES", "NatsListener"]

MAX_REPLY_BYTES = 1024
"""Bytes of a reply subject. With a longer one an answer's line might pass the server's limit for
lines, upon which it would close this connection."""

ENVELOPE = "envelope"
"""The key of a node's metadata that says which envelopes its listener understands."""

BUNDLES = "msgpack"
"""It understands bundles."""

SINGLE_BUNDLES = "msgpack-single"
"""It understands bundles, and needs one message in each: it may answer each bundle only once."""

# NATS makes such a subject for each request that comes from another account.
_IMPORTED = "_R_."


class NatsListener(Listener):
    """One subscription; a socket for each peer that sends to it.

    Args:
        address: The subject.
        accept: Called for the receiver of each socket.
        connection: Where it listens.
        outbox: Where its sockets send.
        counters: Where messages that cannot be used are counted.
        exact: Whether answers may go to the reply subjects of requests only.
        may_open: Called before a socket is opened; False refuses it.
        on_closed: Called once when it is closed.

    Attributes:
        sockets: The open sockets by what their reply subjects begin with.
    """

    def __init__(
        self,
        address: str,
        accept: Accept,
        *,
        connection: Connection,
        outbox: Outbox,
        counters: Counters,
        exact: bool,
        may_open: Callable[[], bool],
        on_closed: Callable[[NatsListener], None],
    ) -> None:
        self._address = address
        self._accept = accept
        self._connection = connection
        self._outbox = outbox
        self._counters = counters
        self._exact = exact
        self._may_open = may_open
        self._on_closed = on_closed
        self._metadata = MappingProxyType({ENVELOPE: SINGLE_BUNDLES if exact else BUNDLES})
        self._subscription: Subscription | None = None
        self.sockets: dict[str, AcceptedSocket] = {}
        self._lost: list[str] = []

    async def open(self) -> None:
        """Subscribe."""
        self._connection.watch_delay()
        self._subscription = await self._connection.subscribe(self._address, self._on_message)

    @property
    def address(self) -> str:
        """The subject; it cannot be guessed unless it was given."""
        return self._address

    @property
    def metadata(self) -> Mapping[str, str]:
        """Which envelopes are understood."""
        return self._metadata

    async def drain(self) -> None:
        """Unsubscribe, and wait for what the server had routed here; see `Listener.drain`."""
        if self._subscription is not None:
            await self._subscription.drain()
        await self._outbox.inbound.settle()

    async def aclose(self) -> None:
        """Unsubscribe, and send a close frame on every socket."""
        if self._subscription is not None:
            self._subscription.unsubscribe()
            self._subscription = None
        for socket in list(self.sockets.values()):
            socket.close()
        self._outbox.flush()
        self._on_closed(self)

    def lose(self, error: ConnectionLost) -> None:
        """End every socket: the connection broke, and replies may be lost."""
        for socket in list(self.sockets.values()):
            if subject := socket.close_subject:
                self._lost.append(subject)
            socket.end(error)

    def restored(self) -> None:
        """Send close frames to the peers of lost sockets, which may not know of the loss."""
        lost, self._lost = self._lost, []
        for subject in lost:
            self._outbox.put_close(subject)

    def _on_message(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del subject, headers
        if not data:
            # The sender asks whether the address is taken.
            if self._may_answer(reply):
                self._outbox.put_close(reply)
        elif is_json(data):
            self._on_json(reply, data)
        else:
            self._on_bundle(reply, data)

    def _on_json(self, reply: str, data: bytes) -> None:
        try:
            messages = [decode_json(data)]
        except CodecError as error:
            self._counters.count_malformed(self._address, error)
            return
        socket = self.sockets.get(reply)
        if socket is None and self._may_answer(reply):
            socket = self._open(reply, binary=False)
        if socket is not None:
            socket.accept(messages, len(data), reply)

    def _on_bundle(self, reply: str, data: bytes) -> None:
        key, _, number = reply.rpartition(".")
        socket = self.sockets.get(key)
        try:
            messages = decode_bundle(data)
        except CloseFrame:
            if socket is not None:
                socket.end_after_inbound(SocketClosed("closed by the peer", refused=True))
            return
        except CodecError as error:
            self._counters.count_malformed(self._address, error)
            return
        bundle = bundle_number(number)
        if socket is None:
            socket = self._open_first(reply, key, bundle)
        elif bundle != socket.bundle + 1:
            self._refuse_gap(socket, bundle)
            return
        if socket is not None:
            socket.bundle = bundle
            socket.accept(messages, len(data), reply)

    def _open_first(self, reply: str, key: str, bundle: int) -> AcceptedSocket | None:
        """Open a socket for its first bundle; the sender of any other learns that it is refused.

        Earlier bundles of an unknown socket may have run, and their answers may be lost.
        """
        if not self._may_answer(reply):
            return None
        opened = None
        if reply.startswith(_IMPORTED):
            opened = self._open(reply, binary=True)
        elif bundle == 1:
            opened = self._open(key, binary=True)
        if opened is None:
            self._counters.bundles_refused += 1
            self._outbox.put_close(reply)
        return opened

    def _refuse_gap(self, socket: AcceptedSocket, bundle: int) -> None:
        """End a socket of which bundles were lost; all before the gap were accepted."""
        self._counters.bundles_refused += 1
        if bundle > socket.bundle:  # else it was repeated on its way
            if subject := socket.close_subject:
                self._outbox.put_close(subject)
            socket.end(ConnectionLost("bundles were lost on their way"))

    def _may_answer(self, reply: str) -> bool:
        """Whether a reply subject is one that answers may go to."""
        if len(reply) <= MAX_REPLY_BYTES and self._connection.inboxes.accept(reply):
            return True
        # Else a peer could make this process publish to topics that the peer may not publish to.
        self._counters.count_without_reply(self._address, reply)
        return False

    def _open(self, remote: str, *, binary: bool) -> AcceptedSocket | None:
        if not self._may_open():
            self._counters.count_refused_socket(self._address)
            return None
        socket = self._make_socket(remote, binary=binary)
        try:
            receiver = self._accept(socket)
        except BaseException:
            self.sockets.pop(remote, None)
            raise
        socket.attach(receiver)
        return socket

    def _make_socket(self, remote: str, *, binary: bool) -> AcceptedSocket:
        outbox, local, table = self._outbox, self._address, self.sockets
        imported = remote.startswith(_IMPORTED)
        if imported or (self._exact and binary):
            return ExactSocket(
                outbox, remote, binary=binary, local=local, table=table, once=imported
            )
        return AcceptedSocket(outbox, remote, binary=binary, local=local, table=table)
