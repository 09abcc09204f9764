"""The server's side of one socket: requests go to admission, other frames to their calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from micro.concurrency.budget import ByteBudget
from micro.errors import (
    Cancelled,
    CodecError,
    InternalError,
    MicroError,
    PayloadTooLarge,
    TransportError,
)
from micro.message import Message, new_message
from micro.server.answers import ReplyTooLarge, send_error
from micro.server.bodies import encoded_body
from micro.server.call import Call, Replies, Requests
from micro.server.legacy import LegacyReplies
from micro.telemetry.metrics import ServerCounters
from micro.transport.contract import Receiver, Socket
from micro.wire.assembler import Assembler
from micro.wire.chunks import is_chunk
from micro.wire.compression import ACCEPT_ENCODING, CONTENT_ENCODING, Compression, encodings
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
    credit_bytes_from,
    credit_from,
)
from micro.wire.legacy import legacy_of
from micro.wire.limits import process_body_limit, too_large

__all__ = ["ServerChannel"]

_log = logging.getLogger("micro.server")


class ServerChannel(Receiver, Replies):
    """Many calls over one socket, told apart by the ids that the client gave them.

    Args:
        socket: Where requests come from and replies go.
        requests: Takes each request.
        on_closed: Called once when the socket is gone.
        service: The service's name, the `id` of errors.
        counters: Where it counts.

    Attributes:
        service: The service's name.
    """

    __slots__ = (
        "_assembler",
        "_closing",
        "_counters",
        "_error",
        "_has_chunks",
        "_on_closed",
        "_requests",
        "_socket",
        "calls",
        "delay",
        "in_process",
        "remote",
        "service",
    )

    def __init__(
        self,
        socket: Socket,
        requests: Requests,
        *,
        on_closed: Callable[[ServerChannel], None],
        service: str,
        counters: ServerCounters,
    ) -> None:
        self.calls: dict[str, Call] = {}
        self._socket = socket
        self._requests = requests
        self._on_closed = on_closed
        self.remote: str = socket.remote
        self.delay: float = 0.0
        self.in_process: bool = socket.in_process
        self.service: str = service
        self._counters = counters
        self._assembler = Assembler(socket, self._send_signal, on_stalled=self.refuse)
        self._error: TransportError | None = None
        self._closing = False
        self._has_chunks = False

    def received(self, messages: Sequence[Message]) -> None:
        """Start a call for each request, and give other frames to the calls they belong to."""
        self.delay = self._socket.delay
        for message in messages:
            headers = message.headers
            try:
                if METHOD in headers or ID not in headers:
                    self._dispatch_go_micro(new_message((canonical(headers), message.body)))
                else:
                    self._route(self, message)
            except Exception:
                # A fault of ours in one frame must not harm the others on this socket.
                self._counters.malformed += 1
                _log.exception("a frame from %s could not be handled", self.remote)
                self._answer_fault(headers)

    def closed(self, error: TransportError) -> None:
        """Cancel what runs for a client that is gone."""
        self._error = error
        self._on_closed(self)
        for call in tuple(self.calls.values()):
            self._assembler.abort(call.id, Cancelled("the client is gone"))
            call.cancel()
        self._assembler.shutdown()

    def send(self, message: Message) -> None:
        """Send a frame of a call; see `Replies.send`."""
        if self._error is not None:
            return
        try:
            self._socket.send(message)
        except TransportError as error:
            self._not_sent(error)
        except PayloadTooLarge as error:
            raise ReplyTooLarge(error.detail) from error

    async def send_large(self, call: Call, message: Message) -> None:
        """Send a frame that may be compressed or cut; see `Replies.send_large`."""
        if self._error is not None:
            return
        try:
            await self._send_whole(call, message)
        except TransportError as error:
            self._not_sent(error)
        except PayloadTooLarge as error:
            raise ReplyTooLarge(error.detail) from error

    @property
    def budget(self) -> ByteBudget:
        """The bytes that this client's streams may hold."""
        return self._assembler.budget

    async def drain(self) -> None:
        """Wait while more waits to be sent than is healthy."""
        await self._socket.drain()

    def refuse(self, headers: dict[str, str], error: MicroError) -> None:
        """Answer a request with an error; see `Replies.refuse`."""
        send_error(self.send, headers, error, self.service)

    def finish(self, call: Call) -> None:
        """A call has ended; the last one of a client that sends nothing more closes the socket."""
        self.calls.pop(call.id, None)
        if call.window is not None:
            call.window.discard()
        if self._has_chunks:
            self._assembler.close(call.id)
        if self._closing and not self.calls:
            self._socket.close()

    async def _send_whole(self, call: Call, message: Message) -> None:
        if METHOD in call.headers:
            await self._assembler.send_frame(message)
            return
        name = call.headers.get(ACCEPT_ENCODING, "")
        if name in encodings():
            message = Message(*Compression(name).compress(*message))
        if call.credit is not None:
            call.credit.spend(len(message.body))
        self._has_chunks = self._has_chunks or not self._assembler.fits(message.body)
        await self._assembler.send(message)

    def _not_sent(self, error: TransportError) -> None:
        self._counters.unsent += 1
        _log.debug("a reply to %s was not sent: %s", self.remote, error)

    def _dispatch_go_micro(self, message: Message) -> None:
        headers = message.headers
        if TOPIC in headers:
            # Its keep-alive: go-micro servers echo it, too.
            self.send(Message({TOPIC: headers[TOPIC], CONTENT_TYPE: "text/plain"}, b""))
            return
        if headers.get("Connection") == "close":
            self._closing = True
        legacy = legacy_of(headers)
        if legacy is None:
            self._route(self, message)
            return
        try:
            self._route(LegacyReplies(self, legacy, self.service), legacy.request(*message))
        except CodecError as error:
            self.refuse(headers, error)

    def _route(self, replies: Replies, message: Message) -> None:
        headers = message.headers
        if (SIGNAL in headers or CHUNKED in headers) and is_chunk(headers):
            whole = self._assemble(message)
            if whole is None:
                return
            message, headers = whole, whole.headers
        call = self.calls.get(headers.get(STREAM) or headers.get(ID, ""))
        if SIGNAL in headers:
            self._signal(call, headers)
        elif call is not None:
            self._frame(call, message)
        elif ERROR in headers:
            self._end_of_unknown(headers)
        elif ENDPOINT in headers or METHOD in headers:
            self._requests.request(replies, message)
        elif STREAM in headers:
            self._counters.late += 1
        else:
            self._counters.malformed += 1

    def _assemble(self, message: Message) -> Message | None:
        headers = message.headers
        if CHUNKED in headers and (ENDPOINT in headers or METHOD in headers):
            # The first chunk of a request: one that would be refused is not worth its memory.
            error = self._requests.objection(headers)
            if error is not None:
                self.refuse(headers, error)
                return None
        self._has_chunks = True
        call = self.calls.get(message.headers.get(ID, ""))
        try:
            return self._assembler.receive(message, call.window if call else None)
        except MicroError as error:
            self.refuse(message.headers, error)
            return None

    def _send_signal(self, headers: dict[str, str]) -> None:
        try:
            self.send(Message(headers, b""))
        except MicroError:
            self._counters.unsent += 1

    def _end_of_unknown(self, headers: dict[str, str]) -> None:
        self._counters.late += 1
        if METHOD in headers:
            # A go-micro client closes its side like this (go-micro `server/rpc_server.go`).
            self._closing = True
            if not self.calls:
                self._socket.close()

    def _frame(self, call: Call, message: Message) -> None:
        headers, window = message.headers, call.window
        if STREAM not in headers or window is None:
            self._counters.duplicates += 1
        elif ERROR in headers:
            # go-micro's client has no half-close: its EOS means that it is gone. A handler that
            # still reads sees the end; one that only writes is told through its cancellation.
            window.end()
            call.client_left()
        elif len(message.body) > process_body_limit().bytes:
            window.end(too_large(len(message.body)))
        elif not window.put(encoded_body(message) if CONTENT_ENCODING in headers else message.body):
            call.fail_sending(Cancelled("the handler reads too slowly"))

    def _signal(self, call: Call | None, headers: dict[str, str]) -> None:
        signal = headers[SIGNAL]
        if signal == "cancel":
            id = headers.get(ID, "")
            self._assembler.abort(id, Cancelled("the client cancelled the call"))
            self._assembler.close(id)
        if call is None:
            return  # a ping, or a signal for a call that has ended in the meantime
        if signal == "cancel":
            call.cancel()
        elif signal == "end" and call.window is not None:
            call.window.end()
        elif signal == "credit" and call.credit is not None:
            call.credit.grant(credit_from(headers), credit_bytes_from(headers))

    def _answer_fault(self, headers: dict[str, str]) -> None:
        """Tell the caller of a request that could not be handled, so that it does not wait."""
        known = canonical(headers)
        if (ENDPOINT in known or METHOD in known) and known.get(ID, "") not in self.calls:
            self.refuse(known, InternalError("the request failed", id=self.service))
