"""One end of a socket in a test network: it lets messages through, or loses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from micro.errors import TransportError
from micro.message import Message
from micro.transport.contract import Receiver, Socket

__all__ = ["Guard"]


class _Wires(Protocol):
    def passes(self, one: str, other: str) -> bool: ...

    def attach(self, guard: Guard) -> None: ...

    def detach(self, guard: Guard) -> None: ...


class Guard(Receiver):
    """Stands before the Receiver of one end of a socket. `open` gives it the socket.

    Attributes:
        lossy: Whether it has lost messages.
        local: The address of this end.
    """

    __slots__ = ("_ended", "_receiver", "_socket", "_wires", "local", "lossy", "socket_key")

    _receiver: Receiver
    _socket: Socket

    def __init__(self, wires: _Wires) -> None:
        self._wires = wires
        self._ended = False
        self.lossy: bool = False
        self.local: str = ""
        self.socket_key: tuple[str, str] = ("", "")

    def open(self, socket: Socket, receiver: Receiver) -> None:
        """Begin: the socket, and where its messages go."""
        self._socket = socket
        self._receiver = receiver
        self.local = socket.local
        first, second = sorted((socket.local, socket.remote))
        self.socket_key = (first, second)
        self._wires.attach(self)

    @property
    def awaited(self) -> int:
        """How many messages its Receiver waits for."""
        return self._receiver.awaited

    def received(self, messages: Sequence[Message]) -> None:
        """Let messages through, or lose them."""
        if self._ended:
            return
        if self._wires.passes(self._socket.local, self._socket.remote):
            self._receiver.received(messages)
        else:
            self.lossy = True

    def closed(self, error: TransportError) -> None:
        """Tell the Receiver once."""
        if not self._ended:
            self._ended = True
            self._wires.detach(self)
            self._receiver.closed(error)

    def break_off(self, error: TransportError) -> None:
        """End this end of the socket with an error."""
        self.closed(error)
        self._socket.close()
