"""The transport: go-micro's pseudo-sockets, on one subscription for all that are dialled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from micro.concurrency.once import Once
from micro.errors import (
    CodecError,
    ConnectionLost,
    InvalidName,
    NoResponders,
    SocketClosed,
    TransportError,
)
from micro.names import check_topic
from micro.transport.contract import Accept, Listener, Receiver, Socket, Transport
from micro_nats.connection.connection import Connection, Observer
from micro_nats.counters import Counters
from micro_nats.tokens import socket_token
from micro_nats.transport.accepted import AcceptedSocket
from micro_nats.transport.addressing import AddressCheck
from micro_nats.transport.dialed import DialedSocket
from micro_nats.transport.listener import BUNDLES, ENVELOPE, SINGLE_BUNDLES, NatsListener
from micro_nats.transport.outbox import Outbox
from micro_nats.transport.sockets import bundle_number
from micro_nats.wire.envelope import CloseFrame, decode_any, decode_bundle

__all__ = ["NatsTransport"]

_MAX_SHOWN_CHARS = 40
_SWEEPS_PER_TIMEOUT = 4


class NatsTransport(Transport, Observer):
    """Sockets over one connection.

    Args:
        connection: The connection; it outlives the transport.
        idle_timeout: Seconds after which a socket on which nothing moves is closed by the end that
            dialled it; the accepting end closes it half of that later.
        max_accepted: How many sockets all listeners together accept at a time.

    Attributes:
        counters: What could not be used.
        inbox: What the subjects of its dialled sockets begin with.
    """

    def __init__(
        self, connection: Connection, *, idle_timeout: float = 60.0, max_accepted: int = 100_000
    ) -> None:
        self._connection = connection
        self._idle_timeout = idle_timeout
        self._max_accepted = max_accepted
        self._outbox = Outbox(connection)
        self.inbox = connection.inboxes.new()
        self._prefix = f"{self.inbox}.s."
        self._dialed: dict[str, DialedSocket] = {}
        self._listeners: dict[str, NatsListener] = {}
        self._probes: dict[str, AcceptedSocket] = {}
        self._checks = AddressCheck(connection)
        self._subscribe_once = Once(self._subscribe)
        self.counters = Counters()
        connection.observe(self)

    async def dial(
        self, address: str, receiver: Receiver, *, metadata: Mapping[str, str] | None = None
    ) -> Socket:
        """Open a socket; the first one costs a subscription, the others send nothing.

        Waits up to the connect timeout for a connection that is being restored.
        """
        try:
            check_topic(address)
        except InvalidName as error:
            detail = f"cannot dial {address!r}: {error.detail}"
            raise TransportError(detail, refused=True) from error
        await self._prepare()
        envelope = metadata.get(ENVELOPE) if metadata is not None else None
        token = socket_token()
        socket = DialedSocket(
            self._outbox,
            address,
            binary=envelope in (BUNDLES, SINGLE_BUNDLES),
            local=self._prefix + token,
            token=token,
            table=self._dialed,
        )
        if envelope == SINGLE_BUNDLES:
            socket.send_singly()
        socket.attach(receiver)
        return socket

    def objection(self, metadata: Mapping[str, str]) -> str:
        """Name the transport or protocol of a node that cannot be reached over NATS.

        go-micro's nodes say both: its gRPC server registers addresses such as `10.0.0.5:50051`.
        """
        for key, ours in (("transport", "nats"), ("protocol", "mucp")):
            value = metadata.get(key, "")
            if value and value != ours:
                return f"its {key} is {value[:_MAX_SHOWN_CHARS]!r}, not {ours!r}"
        return ""

    async def listen(self, accept: Accept, *, address: str = "") -> Listener:
        """Start listening; a given address is asked first, to see if it is taken.

        Raises:
            Conflict: a listener has the address, or a JetStream stream stores its subject.
        """
        await self._prepare()
        if address:
            check_topic(address)
            await self._checks.require_free(address, taken=address in self._listeners)
        else:
            address = self._connection.inboxes.new()
        may_publish = await self._connection.may_publish(self._connection.inboxes.new())
        listener = NatsListener(
            address,
            accept,
            connection=self._connection,
            outbox=self._outbox,
            counters=self.counters,
            exact=not may_publish,
            may_open=self._may_open,
            on_closed=self._on_closed,
        )
        self._listeners[address] = listener
        try:
            await listener.open()
        except BaseException:
            self._listeners.pop(address, None)
            raise
        return listener

    async def sweep(self) -> None:
        """Close idle sockets, without end; one task for all of them."""
        while True:
            await asyncio.sleep(self._idle_timeout / _SWEEPS_PER_TIMEOUT)
            self._sweep()

    def flush(self) -> None:
        """Send what waits, now: the connection is about to be closed."""
        self._outbox.flush()

    def on_lost(self, error: ConnectionLost) -> None:
        """End every socket."""
        for socket in list(self._dialed.values()):
            socket.end(error)
        for listener in self._listeners.values():
            listener.lose(error)
        self._probes.clear()

    def on_restored(self) -> None:
        """Tell the peers of sockets that were lost."""
        for listener in self._listeners.values():
            listener.restored()

    def on_denied(self, subject: str) -> None:
        """End the sockets that may not send."""
        for socket in list(self._dialed.values()):
            if socket.remote == subject:
                socket.end(NoResponders(f"the server does not allow sending to {subject!r}"))

    def _sweep(self) -> None:
        self._outbox.clock = clock = self._outbox.clock + 1
        for dialed in list(self._dialed.values()):
            # A go-micro server keeps memory for each socket permanently, so those are reused.
            if dialed.binary and clock - dialed.seen > _SWEEPS_PER_TIMEOUT:
                dialed.close()
        for listener in list(self._listeners.values()):
            self._sweep_accepted(listener, clock)
        self._probes = {token: socket for token, socket in self._probes.items() if socket.probe}

    def _sweep_accepted(self, listener: NatsListener, clock: int) -> None:
        for socket in list(listener.sockets.values()):
            if clock - socket.seen > _SWEEPS_PER_TIMEOUT * 3 // 2:
                self.counters.sockets_expired += 1
                socket.end(SocketClosed("idle for too long"))
            elif clock - socket.heard > _SWEEPS_PER_TIMEOUT and not socket.probe:
                # It only sends. With a reply subject the server reports when no one receives (503).
                token = socket_token()
                socket.probe = self._prefix + token
                self._probes[token] = socket

    def _may_open(self) -> bool:
        accepted = sum(len(listener.sockets) for listener in self._listeners.values())
        return accepted < self._max_accepted

    async def _prepare(self) -> None:
        """Subscribe for all answers, once, on a connection that may have to be waited for."""
        if not self._connection.connected:
            await self._connection.wait_connected(self._connection.connect_timeout)
        await self._subscribe_once()

    async def _subscribe(self) -> None:
        await self._connection.subscribe(f"{self._prefix}>", self._on_message)

    def _on_message(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del reply
        token = subject[len(self._prefix) :]
        if headers is not None and not data and headers.get("Status") == "503":
            self._on_no_responders(token)
            return
        socket = self._dialed.get(token)
        if socket is None:
            self._on_numbered(token, data)
            return
        try:
            messages = decode_any(data)
        except CloseFrame:
            socket.close_from_peer(None)
        except CodecError as error:
            self.counters.count_malformed(socket.remote, error)
        else:
            socket.dispatch(messages, len(data))

    def _on_numbered(self, token: str, data: bytes) -> None:
        """Receive what came to the reply subject of one bundle: a close frame, or answers.

        Answers come there from a peer that may not publish to the socket's own subject.
        """
        token, _, number = token.partition(".")
        socket, bundle = self._dialed.get(token), bundle_number(number)
        if socket is None or not socket.binary or not bundle:
            self.counters.orphaned_replies += 1
            return
        try:
            messages = decode_bundle(data)
        except CloseFrame:
            socket.close_from_peer(bundle)
        except CodecError as error:
            self.counters.count_malformed(socket.remote, error)
        else:
            socket.send_singly()
            socket.dispatch(messages, len(data))

    def _on_no_responders(self, token: str) -> None:
        """The server says that no one listens where a message was sent."""
        token, _, bundle = token.partition(".")
        socket = self._dialed.get(token) or self._probes.pop(token, None)
        if socket is None:
            self.counters.orphaned_replies += 1
            return
        detail = f"no one listens at {socket.remote!r}"
        socket.end_after_inbound(NoResponders(detail, bundle=bundle_number(bundle) or None))

    def _on_closed(self, listener: NatsListener) -> None:
        self._listeners.pop(listener.address, None)
