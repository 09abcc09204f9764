"""What a transport promises: ordered messages between two ends, and an end that is noticed.

Sockets push: a transport calls its Receiver from the event loop, once for all messages that came
together. A reader task for each socket would cost a wake-up for every message and about 2 KiB
for every idle socket; ten thousand of them are ordinary here. All methods are called on the event
loop's thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from micro.errors import TransportError
from micro.message import Message
from micro.scope import Resource

__all__ = ["Accept", "Listener", "Receiver", "Socket", "Transport"]


class Receiver(ABC):
    """The framework's end of a socket: what a transport pushes into. It returns at once."""

    __slots__ = ()

    @property
    def awaited(self) -> int:
        """How many messages it waits for, if it knows; a transport may hand them on in portions."""
        return 0

    @abstractmethod
    def received(self, messages: Sequence[Message]) -> None:
        """Take messages, in the order the peer sent them; never raises, never waits."""

    @abstractmethod
    def closed(self, error: TransportError) -> None:
        """Learn, exactly once, that nothing more will come.

        Args:
            error: `SocketClosed` when either side closed it; `NoResponders` when no one listens at
                the address; `ConnectionLost` when the connection broke. If the transport can tell,
                the first two name the first bundle that surely was not taken; no later one was
                taken then either. One that loses nothing in between may set `refused` on the peer's
                `SocketClosed` instead: nothing was taken that was not answered.
        """


class Socket(Resource):
    """One end of a conversation with one peer.

    Order is kept in each direction. Delivery is at most once: a message that was sent before the
    connection broke may be lost, and `Receiver.closed` says that it broke. Leaving it as a context
    manager closes it.

    Attributes:
        delay: Seconds that the messages being received now may have waited on their way. It is 0
            ordinarily, and where the transport cannot tell. It is more, and an upper bound, after
            the network or this process stood still. A deadline crosses the wire as the time that
            remains, so this must be subtracted from it.
        in_process: Whether its peers are in this process, so that nothing waits to be read while
            the process stands still.
    """

    __slots__ = ()

    delay: float = 0.0
    in_process: bool = False

    @property
    @abstractmethod
    def local(self) -> str:
        """The address of this end, as the peer sees it."""

    @property
    @abstractmethod
    def remote(self) -> str:
        """The address of the other end."""

    @property
    def largest(self) -> int:
        """Bytes of a body that surely fits one message, next to headers of ordinary size."""
        return 1 << 30

    @abstractmethod
    def send(self, message: Message) -> int:
        """Hand a message over for sending; it leaves within this turn of the event loop.

        Messages handed over in one turn may travel together, as one bundle.

        Returns:
            The number of the bundle it leaves in; it never falls. A transport without bundles
            returns 0.

        Raises:
            SocketClosed: the socket was closed before.
            ConnectionLost: there is no connection now; nothing is kept to be sent late.
            PayloadTooLarge: the message cannot fit the transport's limit.
            ResourceExhausted: what waits to be sent has reached its bound.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Wait while more waits to be sent than is healthy; call it between many sends.

        Raises:
            ConnectionLost: the connection broke while waiting.
        """

    @abstractmethod
    def close(self) -> None:
        """Close this end and tell the peer after all that was sent; a second call does nothing.

        This end's Receiver gets no more messages, and `closed(SocketClosed)` once.
        """

    async def aclose(self) -> None:
        """Do what `close` does, for use as a context manager."""
        self.close()


Accept = Callable[[Socket], Receiver]
"""What a listener asks for each new socket: its Receiver."""


class Listener(Resource):
    """A place where sockets arrive. Leaving it as a context manager closes it."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where to dial it; unique, and good for a registry record."""

    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, str]:
        """What a dialling transport must know of this one; it joins the node's metadata."""

    @abstractmethod
    async def drain(self) -> None:
        """Stop the intake permanently, of new sockets and of new messages.

        Returns when every message that the network had already accepted has been handed to a
        Receiver; open sockets can still send.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close the listener and every socket it accepted; a second call does nothing."""


class Transport(ABC):
    """Dials and listens."""

    @abstractmethod
    async def dial(
        self, address: str, receiver: Receiver, *, metadata: Mapping[str, str] | None = None
    ) -> Socket:
        """Open a socket to the listener at `address`.

        Waits, up to a bound, while the connection is being restored.
        Dialling may succeed though no one listens (NATS cannot tell before a message is sent);
        the receiver then learns of it through `closed(NoResponders)` after the first message.

        Args:
            address: A listener's address.
            receiver: Takes what the peer sends.
            metadata: The node's metadata from the registry; the transport reads its own keys.

        Raises:
            TransportError: the address cannot be dialled, or there is no connection.
        """

    def objection(self, metadata: Mapping[str, str]) -> str:
        """Why a node cannot be dialed over this transport; empty if it can.

        A registry also lists nodes that speak something else. Calls pass them over.

        Args:
            metadata: The node's metadata from the registry.
        """
        del metadata
        return ""

    @abstractmethod
    async def listen(self, accept: Accept, *, address: str = "") -> Listener:
        """Start listening.

        Args:
            accept: Called for each new socket, before its first message is pushed.
            address: Where to listen; empty for a fresh unique address.

        Raises:
            InvalidName: the address cannot be used.
            Conflict: the address is taken.
            TransportError: there is no connection.
        """
