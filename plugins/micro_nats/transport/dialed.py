"""The dialling end of a socket."""

from __future__ import annotations

from micro.errors import SocketClosed
from micro_nats.transport.outbox import Outbox
from micro_nats.transport.sockets import NatsSocket

__all__ = ["DialedSocket"]


class DialedSocket(NatsSocket):
    """The dialling end.

    Args:
        outbox: Where it sends.
        remote: The listener's subject.
        binary: Whether the listener understands bundles.
        local: The subject that the peer answers to.
        token: The end of that subject; random, so that no other peer can forge an answer.
        table: The sockets by their tokens.
    """

    __slots__ = ("_local", "_table", "_token")

    def __init__(
        self,
        outbox: Outbox,
        remote: str,
        *,
        binary: bool,
        local: str,
        token: str,
        table: dict[str, DialedSocket],
    ) -> None:
        super().__init__(outbox, remote, binary=binary)
        self._local = local
        self._token = token
        self._table = table
        table[token] = self

    @property
    def local(self) -> str:
        """The subject that the peer answers to."""
        return self._local

    def send_singly(self) -> None:
        """Send each message in a bundle of its own from now on.

        The peer may answer to the reply subject of a bundle only, and perhaps only once.
        """
        self._max_messages = 1

    def close_from_peer(self, bundle: int | None) -> None:
        """End it: the peer sent a close frame.

        Args:
            bundle: The first bundle that the peer did not accept, if it said so.
        """
        error = SocketClosed("closed by the peer")
        error.bundle = bundle
        self.end_after_inbound(error)

    def _put_close(self) -> None:
        if self.binary and self._bundle > 0:
            self._outbox.put_close(self._remote, self._reply())

    def _reply(self) -> str:
        return f"{self._local}.{self._bundle}" if self.binary else self._local

    def _forget(self) -> None:
        self._table.pop(self._token, None)
