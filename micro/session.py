"""The server's side of one socket: frames in, calls started, steered and cancelled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from micro.errors import (
    Cancelled,
    MicroError,
    PayloadTooLarge,
    TransportError,
)
from micro.message import Message
from micro.protocol import (
    CREDIT,
    ENDPOINT,
    ERROR,
    ID,
    METHOD,
    SIGNAL,
    STREAM,
    TOPIC,
    canonical,
    error_headers,
)
from micro.transport.contract import Receiver, Socket

if TYPE_CHECKING:
    from micro.call import Call
    from micro.server import Server

__all__ = ["Session"]

_log = logging.getLogger("micro.server")


class Session(Receiver):
    """Many calls over one socket, told apart by the ids that the client gave them.

    Args:
        server: Runs the calls.
        socket: Where they come from and the replies go.

    Attributes:
        calls: What runs or waits, by id.
    """

    __slots__ = ("_server", "calls", "error", "socket")

    def __init__(self, server: Server, socket: Socket) -> None:
        self._server = server
        self.socket = socket
        self.calls: dict[str, Call] = {}
        self.error: TransportError | None = None

    def received(self, messages: Sequence[Message]) -> None:
        """Start a call for each request, and give other frames to the calls they belong to."""
        for message in messages:
            try:
                self._take(message)
            except Exception:
                # One frame that nobody foresaw must not harm the others on this socket.
                self._server.counters.garbage += 1
                _log.exception("a frame from %s was dropped", self.socket.remote)

    def closed(self, error: TransportError) -> None:
        """Cancel what runs for a client that is gone."""
        self.error = error
        self._server.forget(self)
        for call in tuple(self.calls.values()):
            call.cancel()

    def send(self, message: Message) -> None:
        """Send a frame of a call; a client that is gone needs none.

        Raises:
            PayloadTooLarge: it does not fit the transport.
        """
        if self.error is not None:
            return
        try:
            self.socket.send(message)
        except PayloadTooLarge:
            raise
        except MicroError as error:
            self._server.counters.unsent += 1
            _log.debug("a reply to %s was not sent: %s", self.socket.remote, error)

    def refuse(self, headers: dict[str, str], error: MicroError) -> None:
        """Answer a request that was not run."""
        self.send(Message(error_headers(headers, error), b""))

    def _take(self, message: Message) -> None:
        headers, body = message
        if METHOD in headers or ID not in headers:
            headers = canonical(headers)
            if TOPIC in headers:
                self.send(Message({TOPIC: headers[TOPIC], "Content-Type": "text/plain"}, b""))
                return
        id = headers.get(ID, "")
        call = self.calls.get(headers.get(STREAM, id))
        if SIGNAL in headers:
            self._signal(call, headers)
        elif call is not None:
            self._frame(call, headers, body)
        elif ERROR in headers:
            self._server.counters.late += 1
        elif ENDPOINT in headers or METHOD in headers:
            self._server.start(self, headers, body)
        elif STREAM in headers:
            self._server.counters.late += 1
        else:
            self._server.counters.garbage += 1

    def _frame(self, call: Call, headers: dict[str, str], body: bytes) -> None:
        if STREAM not in headers or call.inflow is None:
            self._server.counters.duplicates += 1
        elif ERROR in headers:
            # go-micro's client has no half-close: its EOS means that it is gone. A handler that
            # still reads sees the end; one that only writes is told through its cancellation.
            call.inflow.end()
            call.client_left()
        elif not call.inflow.feed(body):
            call.outflow_fails(Cancelled("the handler reads too slowly"))

    def _signal(self, call: Call | None, headers: dict[str, str]) -> None:
        if call is None:
            return  # a ping, or a word for a call that has ended meanwhile
        signal = headers[SIGNAL]
        if signal == "cancel":
            call.cancel()
        elif signal == "end" and call.inflow is not None:
            call.inflow.end()
        elif signal == "credit" and call.outflow is not None:
            credit = headers.get(CREDIT, "")
            if credit.isdigit():
                call.outflow.add(int(credit[:9]))
