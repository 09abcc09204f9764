"""The server's side of one socket: frames in, calls started, steered and cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from micro.errors import (
    Cancelled,
    CodecError,
    MicroError,
    PayloadTooLarge,
    ResourceExhausted,
    TransportError,
)
from micro.message import Message
from micro.transport.contract import Receiver, Socket
from micro.wire.chunks import ALWAYS_FITS_BYTES, Chunker, is_chunk
from micro.wire.compression import (
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    Compression,
    decompress,
    encodings,
)
from micro.wire.headers import (
    CHUNKED,
    CONTENT_TYPE,
    ENDPOINT,
    ERROR,
    ID,
    METHOD,
    SIGNAL,
    STREAM,
    TOPIC,
    canonical,
    credit_from,
    error_headers,
)
from micro.wire.legacy import Legacy, legacy_of

if TYPE_CHECKING:
    from micro.server.call import Call
    from micro.server.server import Server

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

    __slots__ = ("_closing", "_pieces", "_server", "calls", "error", "socket")

    def __init__(self, server: Server, socket: Socket) -> None:
        self._server = server
        self.socket = socket
        self.calls: dict[str, Call] = {}
        self.error: TransportError | None = None
        self._closing = False
        self._pieces: Chunker | None = None

    def received(self, messages: Sequence[Message]) -> None:
        """Start a call for each request, and give other frames to the calls they belong to."""
        for message in messages:
            try:
                self._take(message)
            except Exception:
                # One frame that nobody foresaw must not harm the others on this socket.
                self._server.counters.malformed += 1
                _log.exception("a frame from %s was dropped", self.socket.remote)

    def closed(self, error: TransportError) -> None:
        """Cancel what runs for a client that is gone."""
        self.error = error
        self._server.forget(self)
        for call in tuple(self.calls.values()):
            self._stop_pieces(call.id)
            call.cancel()

    async def send_large(self, call: Call, message: Message) -> None:
        """Send a frame of a call that may be compressed, or go in pieces.

        Raises:
            PayloadTooLarge: it does not fit even so.
        """
        native = METHOD not in call.headers
        if native and (encoding := call.headers.get(ACCEPT_ENCODING)) in encodings():
            message = Message(*Compression(encoding or "").compress(*message))
        if (
            len(message.body) <= ALWAYS_FITS_BYTES
            or len(message.body) <= self.socket.largest
            or not native
        ):
            await self._send_when_room(message)
            return
        if self.error is None:
            await self._in_pieces().send(message)

    async def _send_when_room(self, message: Message) -> None:
        while True:
            try:
                self.send(message)
                return
            except ResourceExhausted:
                # Raised, a reply would be lost; a turn later the socket may have sent what waits.
                await self.socket.drain()
                await asyncio.sleep(0)

    def send(self, message: Message) -> None:
        """Send a frame of a call; a client that is gone needs none.

        Raises:
            PayloadTooLarge: it does not fit the transport.
            ResourceExhausted: too much waits to be sent.
        """
        if self.error is not None:
            return
        try:
            self.socket.send(message)
        except (PayloadTooLarge, ResourceExhausted):
            raise
        except MicroError as error:
            self._server.counters.unsent += 1
            _log.debug("a reply to %s was not sent: %s", self.socket.remote, error)

    def refuse(self, headers: dict[str, str], error: MicroError) -> None:
        """Answer with an error, or with a plain one in its place if it cannot be sent."""
        try:
            self.send(Message(error_headers(headers, error), b""))
        except Exception as problem:
            # A detail may be of any size and, in untyped code, of any class.
            _log.error("an error could not be sent: %s: %s", type(problem).__name__, problem)
            code = error.code if isinstance(error.code, int) else 500
            plain = MicroError("the error could not be sent", code=code, id=self._server.name)
            self._say(error_headers(headers, plain))

    def finish(self, call: Call) -> None:
        """A call has ended; the last one of a client that wanted no more closes the socket."""
        self.calls.pop(call.id, None)
        if self._pieces is not None:
            self._pieces.close(call.id)
        if self._closing and not self.calls:
            self.socket.close()

    def _take(self, message: Message) -> None:
        headers, body = message
        if METHOD in headers or ID not in headers:
            self._take_foreign(canonical(headers), body)
        else:
            self._route(self, headers, body)

    def _take_foreign(self, headers: dict[str, str], body: bytes) -> None:
        """Take a frame of a go-micro client."""
        if TOPIC in headers:
            # Its keep-alive: go-micro servers echo it, too.
            self.send(Message({TOPIC: headers[TOPIC], CONTENT_TYPE: "text/plain"}, b""))
            return
        if headers.get("Connection") == "close":
            self._closing = True
        legacy = legacy_of(headers)
        if legacy is None:
            self._route(self, headers, body)
            return
        try:
            self._route(LegacySession(self, legacy), *legacy.request(headers, body))
        except CodecError as error:
            self.refuse(headers, error)

    def _route(self, replies: Session, headers: dict[str, str], body: bytes) -> None:
        if (SIGNAL in headers or CHUNKED in headers) and is_chunk(headers):
            whole = self._take_piece(headers, body)
            if whole is None:
                return
            headers, body = whole
        if CONTENT_ENCODING in headers:
            try:
                body = decompress(headers, body)
            except MicroError as error:
                self.refuse(headers, error)
                return
        id = headers.get(ID, "")
        call = self.calls.get(headers.get(STREAM, id))
        if SIGNAL in headers:
            self._signal(call, headers)
        elif call is not None:
            self._frame(call, headers, body)
        elif ERROR in headers:
            self._end_of_unknown(headers)
        elif ENDPOINT in headers or METHOD in headers:
            self._server.start(replies, headers, body)
        elif STREAM in headers:
            self._server.counters.late += 1
        else:
            self._server.counters.malformed += 1

    def _take_piece(self, headers: dict[str, str], body: bytes) -> Message | None:
        try:
            return self._in_pieces().receive(Message(headers, body))
        except PayloadTooLarge as error:
            self.refuse(headers, error)
            return None

    def _say(self, headers: dict[str, str]) -> None:
        try:
            self.send(Message(headers, b""))
        except MicroError:
            self._server.counters.unsent += 1

    def _in_pieces(self) -> Chunker:
        if self._pieces is None:
            self._pieces = Chunker(self.socket, self._say)
        return self._pieces

    def _stop_pieces(self, id: str) -> None:
        if self._pieces is not None:
            self._pieces.abort(id, Cancelled("the client is gone"))

    def _end_of_unknown(self, headers: dict[str, str]) -> None:
        self._server.counters.late += 1
        if METHOD in headers:
            # From a go-micro client this is a goodbye (go-micro `server/rpc_server.go`).
            self._closing = True
            if not self.calls:
                self.socket.close()

    def _frame(self, call: Call, headers: dict[str, str], body: bytes) -> None:
        if STREAM not in headers or call.inflow is None:
            self._server.counters.duplicates += 1
        elif ERROR in headers:
            # go-micro's client has no half-close: its EOS means that it is gone. A handler that
            # still reads sees the end; one that only writes is told through its cancellation.
            call.inflow.end()
            call.client_left()
        elif not call.inflow.put(body):
            call.outflow_fails(Cancelled("the handler reads too slowly"))

    def _signal(self, call: Call | None, headers: dict[str, str]) -> None:
        signal = headers[SIGNAL]
        if signal == "cancel":
            self._stop_pieces(headers.get(ID, ""))
            if self._pieces is not None:
                self._pieces.close(headers.get(ID, ""))
        if call is None:
            return  # a ping, or a word for a call that has ended meanwhile
        if signal == "cancel":
            call.cancel()
        elif signal == "end" and call.inflow is not None:
            call.inflow.end()
        elif signal == "credit" and call.outflow is not None:
            call.outflow.grant(credit_from(headers))


class LegacySession(Session):
    """A session's calls in an old dialect: the same socket and calls, replies in their envelope.

    Args:
        session: The session.
        legacy: The dialect.
    """

    __slots__ = ("_legacy", "_session")

    def __init__(self, session: Session, legacy: Legacy) -> None:
        super().__init__(session._server, session.socket)
        self.calls = session.calls
        self._session = session
        self._legacy = legacy

    def send(self, message: Message) -> None:
        """Send a frame of a call in the envelope of its dialect."""
        self._session.send(self._legacy.reply(message))

    async def send_large(self, call: Call, message: Message) -> None:  # noqa: ARG002 - no need
        """The same: the old dialects know neither compression nor pieces."""
        self.send(message)

    def finish(self, call: Call) -> None:
        """A call has ended."""
        self._session.finish(call)
