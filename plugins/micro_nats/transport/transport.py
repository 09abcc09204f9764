"""The transport: go-micro's pseudo-sockets, on one subscription for all that are dialled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count

from micro.concurrency.once import Once
from micro.errors import (
    CodecError,
    Conflict,
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
from micro_nats.tokens import short_token
from micro_nats.transport.listener import METADATA, NatsListener
from micro_nats.transport.outbox import Outbox
from micro_nats.transport.sockets import AcceptedSocket, DialedSocket, bundle_number
from micro_nats.wire.envelope import CLOSE_FRAME, CloseFrame, decode_any

__all__ = ["NatsTransport"]

_MAX_SHOWN = 40

_TICKS = 4
_PROBE_SECONDS = 0.1


class NatsTransport(Transport, Observer):
    """Sockets over one connection.

    Args:
        connection: The connection; it outlives the transport.
        idle_timeout: Seconds after which a socket on which nothing moves is closed by who dialled
            it; half of that later by who accepted it, if the other did not do it.
        most_accepted: How many sockets one listener accepts at a time.

    Attributes:
        counters: What was passed over.
        inbox: What the subjects of its dialled sockets begin with.
    """

    def __init__(
        self, connection: Connection, *, idle_timeout: float = 60.0, most_accepted: int = 100_000
    ) -> None:
        self._connection = connection
        self._idle_timeout = idle_timeout
        self._most_accepted = most_accepted
        self._outbox = Outbox(connection)
        self.inbox = connection.inboxes.new()
        self._prefix = f"{self.inbox}.s."
        self._numbers = count()
        self._dialed: dict[str, DialedSocket] = {}
        self._listeners: dict[str, NatsListener] = {}
        self._probes: dict[str, AcceptedSocket] = {}
        self._taken: dict[str, asyncio.Future[bool]] = {}
        self._inbox = Once(self._subscribe)
        self.counters = Counters()
        connection.observe(self)

    async def dial(
        self, address: str, receiver: Receiver, *, metadata: Mapping[str, str] | None = None
    ) -> Socket:
        """Open a socket; costs nothing on the wire but, once, one subscription.

        Waits up to the connect timeout for a connection that is being restored.
        """
        try:
            check_topic(address)
        except InvalidName as error:
            detail = f"cannot dial {address!r}: {error.detail}"
            raise TransportError(detail, refused=True) from error
        await self._ready()
        socket = DialedSocket(
            self._outbox,
            address,
            binary=metadata is not None and metadata.get("envelope") == METADATA["envelope"],
            prefix=self._prefix,
            token=short_token(next(self._numbers)),
            table=self._dialed,
        )
        socket.attach(receiver)
        return socket

    def objection(self, metadata: Mapping[str, str]) -> str:
        """Name the transport or protocol of a node that cannot be reached over NATS.

        go-micro's nodes say both: its gRPC server registers addresses such as `10.0.0.5:50051`.
        """
        for key, ours in (("transport", "nats"), ("protocol", "mucp")):
            value = metadata.get(key, "")
            if value and value != ours:
                return f"its {key} is {value[:_MAX_SHOWN]!r}, not {ours!r}"
        return ""

    async def listen(self, accept: Accept, *, address: str = "") -> Listener:
        """Start listening; an address that was given is asked for first, to see if it is taken."""
        await self._ready()
        if address:
            check_topic(address)
            if address in self._listeners or await self._is_taken(address):
                raise Conflict(f"address {address!r} is taken")
        else:
            address = self._connection.inboxes.new()
        listener = NatsListener(
            address,
            accept,
            self._outbox,
            self.counters,
            most=self._most_accepted,
            gone=self._gone,
        )
        self._listeners[address] = listener
        try:
            await listener.open(self._connection)
        except BaseException:
            self._listeners.pop(address, None)
            raise
        return listener

    async def sweep(self) -> None:
        """Close idle sockets, for ever; one task for all of them."""
        while True:
            await asyncio.sleep(self._idle_timeout / _TICKS)
            self._sweep()

    def _sweep(self) -> None:
        self._outbox.clock = clock = self._outbox.clock + 1
        for dialed in list(self._dialed.values()):
            # Each new socket costs a go-micro server something for good, so those stay.
            if dialed.binary and clock - dialed.seen > _TICKS:
                dialed.close()
        for listener in list(self._listeners.values()):
            self._sweep_accepted(listener, clock)
        self._probes = {k: s for k, s in self._probes.items() if s.probe}

    def _sweep_accepted(self, listener: NatsListener, clock: int) -> None:
        for socket in list(listener.sockets.values()):
            if clock - socket.seen > _TICKS * 3 // 2:
                self.counters.sockets_expired += 1
                socket.end(SocketClosed("idle for too long"))
            elif clock - socket.heard > _TICKS and not socket.probe:
                # It only sends. From now on the server tells when nobody is there to receive.
                token = short_token(next(self._numbers))
                socket.probe = self._prefix + token
                self._probes[token] = socket

    async def _ready(self) -> None:
        """Subscribe for all answers, once, on a connection that may have to be waited for."""
        if not self._connection.connected:
            await self._connection.wait_connected(self._connection.connect_timeout)
        await self._inbox()

    async def _subscribe(self) -> None:
        await self._connection.subscribe(f"{self._prefix}>", self._arrived)

    def _arrived(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del reply
        token = subject[len(self._prefix) :]
        if headers is not None and not data and headers.get("Status") == "503":
            self._unanswered(token)
            return
        socket = self._dialed.get(token)
        if socket is None:
            self._stray(token, data)
            return
        try:
            messages = decode_any(data)
        except CloseFrame:
            socket.departed(None)
        except CodecError as error:
            self.counters.count_malformed(socket.remote, error)
        else:
            socket.received(messages)

    def _unanswered(self, token: str) -> None:
        """The server says that nobody listens where a message was sent."""
        token, _, bundle = token.partition(".")
        if (taken := self._taken.get(token)) is not None:
            if not taken.done():
                taken.set_result(False)
            return
        socket = self._dialed.get(token) or self._probes.pop(token, None)
        if socket is None:
            self.counters.orphaned_replies += 1
            return
        detail = f"nobody listens at {socket.remote!r}"
        socket.end_after(NoResponders(detail, bundle=bundle_number(bundle) or None))

    def _stray(self, token: str, data: bytes) -> None:
        """Something came that is for no socket as a whole."""
        taken = self._taken.get(token)
        token, _, bundle = token.partition(".")
        socket = self._dialed.get(token)
        if socket is not None and data == CLOSE_FRAME and (number := bundle_number(bundle)):
            socket.departed(number)
        elif taken is None:
            self.counters.orphaned_replies += 1
        elif not taken.done():
            taken.set_result(True)

    async def _is_taken(self, address: str) -> bool:
        """Ask at an address; a listener of ours answers, and the server if nobody is there.

        Whoever is there and says nothing, a program that only looks on for example, takes it not.
        """
        token = short_token(next(self._numbers))
        answer = self._taken[token] = asyncio.get_running_loop().create_future()
        try:
            self._connection.publish_now(address, self._prefix + token, b"")
            await asyncio.wait([answer], timeout=_PROBE_SECONDS)
            return answer.done() and answer.result()
        finally:
            del self._taken[token]

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

    def _gone(self, listener: NatsListener) -> None:
        self._listeners.pop(listener.address, None)
