"""The end of a socket that was dialled, and the one for peers that must be answered exactly."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from micro.errors import SocketClosed
from micro.message import Message
from micro_nats.transport.outbox import Outbox
from micro_nats.transport.sockets import NatsSocket
from micro_nats.wire.envelope import bundle_of

__all__ = ["AcceptedSocket", "ExactSocket"]

_STREAM = "Micro-Stream"


class AcceptedSocket(NatsSocket):
    """The end that was dialled, known by the reply subject that it answers to.

    Attributes:
        bundle: The number of the newest bundle that was accepted.
        heard: The outbox's clock when the peer last sent something.
        probe: A reply subject to send with, at which the server reports that the peer is gone.
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
    def close_subject(self) -> str:
        """Where a close frame goes: the reply subject of the bundle after the newest; or empty."""
        return f"{self._remote}.{self.bundle + 1}" if self.binary else ""

    def accept(self, messages: Sequence[Message], size: int, reply: str) -> None:
        """Receive messages of the peer.

        Args:
            messages: What a NATS message held.
            size: Bytes of that message.
            reply: The reply subject of that message.
        """
        del reply
        self.heard = self._outbox.clock
        if self.probe:
            self.probe = ""
        self.dispatch(messages, size)

    def _put_close(self) -> None:
        if subject := self.close_subject:
            self._outbox.put_close(subject)

    def _reply(self) -> str:
        return self.probe

    def _forget(self) -> None:
        self._table.pop(self._remote, None)


class ExactSocket(AcceptedSocket):
    """A socket that may answer to the reply subjects of requests only, perhaps once to each.

    A user with the permission `allow_responses` alone needs this, and so do requests that come from
    another account through a service import. Answers wait for a reply subject that has not been
    used; with the last such subject they wait until the last answer that is owed.

    Args:
        once: Whether its reply subject carries no second request, so that it ends when all is
            answered.
    """

    __slots__ = ("_last", "_once", "_owed", "_replies")

    def __init__(
        self,
        outbox: Outbox,
        remote: str,
        *,
        binary: bool,
        local: str,
        table: dict[str, AcceptedSocket],
        once: bool,
    ) -> None:
        super().__init__(outbox, remote, binary=binary, local=local, table=table)
        self._replies: deque[str] = deque()
        self._last = remote
        self._owed = 0
        self._once = once

    @property
    def close_subject(self) -> str:
        """None: the peer listens there, but it may not be published to."""
        return ""

    def accept(self, messages: Sequence[Message], size: int, reply: str) -> None:
        """Receive messages of the peer, and the right to answer them."""
        self._replies.append(reply)
        self._owed += len(messages)
        if any(_STREAM in message.headers for message in messages):
            self._once = False
        if self._parts is not None:
            self._outbox.touch(self)
        super().accept(messages, size, reply)

    def send(self, message: Message) -> int:
        """Hand a message over; see `Socket.send`."""
        number = super().send(message)
        self._outbox.touch(self)
        return number

    def post(self) -> None:
        """Put what waits into the outbox, unless it must wait for other answers."""
        parts = self._parts
        if parts is not None and (len(self._replies) > 1 or len(parts) >= self._owed):
            self._post_parts(parts)

    def _post_parts(self, parts: list[bytes]) -> None:
        self._parts = None
        self.seen = self._outbox.clock
        # Without a new reply subject a stream continues with the last: a user with
        # `allow_responses` may answer it several times, up to the number in that permission.
        if self._replies:
            self._last = self._replies.popleft()
        self._outbox.put(self._last, "", bundle_of(parts) if self.binary else parts[0])
        self._owed = max(self._owed - len(parts), 0)
        if self._once and not self._owed:
            self.end(SocketClosed("answered"))
