"""One stream from the client's side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from micro.errors import Cancelled, ConnectionLost, MicroError, ResourceExhausted
from micro.message import Message
from micro.wire.flow import WINDOW, Inflow, Outflow
from micro.wire.headers import CREDIT, EOS, ERROR, ID, SIGNAL, credit_from, error_from

if TYPE_CHECKING:
    from micro.client.channel import Connection

__all__ = ["StreamCall"]

# go-micro peers know no credit: their items are taken in up to this many.
_FOREIGN_WINDOW = 16_384


class StreamCall:
    """One stream from the client's side: an inflow of answers, an outflow of requests.

    Attributes:
        inflow: Answers as bodies.
        outflow: Room for requests.
        id: Its id on the connection.
    """

    __slots__ = ("_connection", "_headers", "ended", "id", "inflow", "outflow")

    def __init__(self, connection: Connection, id: str, headers: dict[str, str]) -> None:
        native = connection.native
        self._connection = connection
        self._headers = headers
        self.id = id
        self.ended = False
        window = WINDOW if native else _FOREIGN_WINDOW
        self.inflow = Inflow(self._grant if native else None, limit=window)
        self.outflow = Outflow(0 if native else None)

    async def send(self, body: bytes) -> None:
        """Send one request, when the peer has room for it.

        Raises:
            MicroError: the stream has ended.
        """
        await self.outflow.take()
        await self._connection.send(Message(self._headers, body))

    def finish(self) -> None:
        """Say that no more requests come. go-micro has no such word: it would end the stream."""
        if self._connection.native and not self.inflow.ended:
            self._signal("end")

    def close(self) -> None:
        """Leave the stream; a peer that still works on it is told to stop.

        What came before can still be read.
        """
        if self.ended:
            return
        self.ended = True
        if not self.inflow.ended:
            if self._connection.native:
                self._signal("cancel")
            else:
                self._connection.say({**self._headers, ERROR: EOS})
        self.end(Cancelled("the stream was left", id="micro.client"))

    def take(self, message: Message) -> None:
        """Take an item of the peer's for this stream, or its end."""
        headers = message.headers
        if headers.get(ERROR) is None:
            if not self.inflow.feed(message.body):
                self.outflow.fail(ResourceExhausted("the reader is too slow"))
                if self._connection.native:
                    self._signal("cancel")
        else:
            self.end(None if headers[ERROR] == EOS else error_from(headers))

    def steer(self, headers: Mapping[str, str]) -> None:
        """Take a signal of the peer's for this stream; one that is not known is passed over."""
        if headers.get(SIGNAL) == "credit":
            self.outflow.add(credit_from(headers))

    def end(self, error: MicroError | None) -> None:
        """The peer ended the stream, or the connection did."""
        self._connection.forget_stream(self)
        self.inflow.end(error)
        self.outflow.fail(error or ConnectionLost("the peer ended the stream", id="micro.client"))

    def _grant(self, items: int) -> None:
        if not self.inflow.ended:
            self._connection.say({ID: self.id, SIGNAL: "credit", CREDIT: str(items)})

    def _signal(self, signal: str) -> None:
        self._connection.say({ID: self.id, SIGNAL: signal})
