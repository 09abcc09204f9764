"""The client's side of one socket: many calls and streams over it, told apart by their ids.

Over 300 lines, because a frame on the hot path passes through no second object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from micro.client.pending import (
    Pending,
    Reply,
    decompressed,
    end_all,
    error_for,
    new_pending,
    send_later,
)
from micro.client.stream import StreamCall
from micro.concurrency.timers import Timers
from micro.deadline import Deadline
from micro.errors import (
    Cancelled,
    ConnectionLost,
    MicroError,
    ResourceExhausted,
    TransportError,
)
from micro.message import Message, new_message
from micro.telemetry.metrics import ClientCounters
from micro.transport.contract import Receiver, Socket
from micro.wire.assembler import Assembler
from micro.wire.chunks import is_chunk
from micro.wire.compression import ACCEPT_ENCODING, CONTENT_ENCODING, Compression
from micro.wire.errors import error_to_wire
from micro.wire.flow import WINDOW_ITEMS, SendCredit
from micro.wire.headers import (
    CHUNKED,
    ERROR,
    ID,
    SIGNAL,
    STREAM,
    TIMEOUT,
    TOPIC,
    canonical,
    credit_headers,
    is_native,
    ping_headers,
    set_id,
    timeout_of,
)
from micro.wire.limits import WINDOW_BYTES, process_body_limit, too_large

__all__ = ["Channel"]

_log = logging.getLogger("micro.client")
_body_limit = process_body_limit()
_MAX_PENDING = 65_536


class Channel(Receiver):
    """Calls and streams over one socket to one node.

    Args:
        timers: Where calls wait for their deadlines; its items are the replies' futures.
        metadata: The node's, which tells the dialect it understands.
        on_closed: Called once when the socket is closed.
        compression: How requests are compressed; `None` for not at all.
        counters: Where late replies are counted; its own when not given.

    Attributes:
        socket: Its socket, set by `attach`.
        native: Whether the node understands the native dialect.
        error: Why the socket is closed, once it is.
        heard: Whether anything arrived since it was last set to false.
        counters: What was counted so far.
    """

    __slots__ = (
        "_answered_bundle",
        "_assembler",
        "_compression",
        "_has_chunks",
        "_loop",
        "_next_id",
        "_on_closed",
        "_pending",
        "_streams",
        "_timers",
        "counters",
        "error",
        "heard",
        "native",
        "socket",
    )

    def __init__(
        self,
        *,
        timers: Timers[Reply],
        metadata: Mapping[str, str],
        on_closed: Callable[[Channel], None],
        compression: Compression | None = None,
        counters: ClientCounters | None = None,
    ) -> None:
        self.native: bool = is_native(metadata)
        self.error: TransportError | None = None
        self.heard: bool = True
        self.counters: ClientCounters = counters or ClientCounters()
        self.socket: Socket
        self._assembler: Assembler
        self._timers = timers
        self._on_closed = on_closed
        self._compression = compression if self.native else None
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._answered_bundle = -1
        self._has_chunks = False
        self._pending: dict[str, Pending] = {}
        self._streams: dict[str, StreamCall] = {}

    def __len__(self) -> int:
        """Calls and streams in flight."""
        return len(self._pending) + len(self._streams)

    @property
    def awaited(self) -> int:
        """Calls that wait for their replies."""
        return len(self._pending)

    @property
    def streaming(self) -> bool:
        """Whether a stream is open, so that silence must not be taken for absence."""
        return bool(self._streams)

    def attach(self, socket: Socket) -> None:
        """Set the socket, before the first call."""
        self.socket = socket
        self._assembler = Assembler(socket, self.send_signal, on_stalled=self._on_stalled)

    async def call(
        self, headers: dict[str, str], body: bytes, deadline: Deadline | None
    ) -> Message:
        """Send a request and wait for its reply, which may say an error.

        Args:
            headers: The request's own; id and timeout are added.
            body: The request as its codec wrote it.
            deadline: Until when to wait.

        Raises:
            DeadlineExceeded: no reply came in time.
            TransportError: it could not be sent, or the socket was closed; see its `refused`.
        """
        self._next_id = number = self._next_id + 1
        id = str(number)
        reply: Reply = self._loop.create_future()
        slot = self._prepare(headers, id, reply, deadline)
        if self._compression is not None:
            headers, body = self._compress(headers, body)
        try:
            message = new_message((headers, body))
            if not self.native or self._assembler.fits(body):
                try:
                    # Known after the sending only: it tells later whether the request arrived.
                    bundle = self.socket.send(message)
                except MicroError as error:
                    bundle = await send_later(self._assembler, message, deadline, error)
                self._pending[id] = new_pending((reply, bundle, slot))
            else:
                self._pending[id] = pending = Pending(reply, None, slot)
                await self._call_in_chunks(id, pending, message)
            answer = await reply
        except BaseException:
            # A cancellation too: the handler at the other end is told to stop.
            self._abandon(id, reply, slot)
            raise
        if len(answer.body) > _body_limit.bytes:
            raise too_large(len(answer.body))
        return decompressed(answer) if CONTENT_ENCODING in answer.headers else answer

    async def open_stream(
        self, headers: dict[str, str], body: bytes, deadline: Deadline | None
    ) -> StreamCall:
        """Open a stream; `body` is its first request, which go-micro servers ignore.

        Raises:
            TransportError: it could not be sent.
        """
        self._next_id = number = self._next_id + 1
        id = str(number)
        set_id(headers, id, native=self.native)
        headers[STREAM] = id
        call = StreamCall(
            self,
            id,
            {ID: id, STREAM: id} if self.native else headers,
            budget=self._assembler.budget,
        )
        opening = dict(headers)
        if deadline is not None:
            opening[TIMEOUT] = timeout_of(deadline)
        if self.native:
            opening |= credit_headers(WINDOW_ITEMS, WINDOW_BYTES)
        self._streams[id] = call
        try:
            await self._send(Message(opening, body))
        except BaseException:
            self.forget_stream(call)
            raise
        return call

    def forget_stream(self, call: StreamCall) -> None:
        """Remove a stream that has ended."""
        self._streams.pop(call.id, None)
        self._assembler.abort(call.id, Cancelled("the stream has ended"))
        self._assembler.close(call.id)

    def send_signal(self, headers: dict[str, str]) -> None:
        """Send a frame without a body; does nothing on a socket that is closed or full."""
        if self.error is None:
            try:
                self.socket.send(Message(headers, b""))
            except TransportError as error:
                _log.debug("a %s frame was not sent: %s", headers.get(SIGNAL, "control"), error)

    async def send_item(self, message: Message, credit: SendCredit) -> None:
        """Send an item of a stream, in chunks if it is large.

        Raises:
            MicroError: it could not be sent.
        """
        await self._send(message, credit)

    async def _send(self, message: Message, credit: SendCredit | None = None) -> None:
        if self._compression is not None:
            message = Message(*self._compress(*message))
        if credit is not None:
            credit.spend(len(message.body))
        if self.native:
            await self._assembler.send(message)
        else:
            await self._assembler.send_frame(message)

    def ping(self) -> None:
        """Keep the socket alive at the peer."""
        self.send_signal(ping_headers("", native=self.native))

    def received(self, messages: Sequence[Message]) -> None:
        """Give each reply to the call that waits for it, and each frame to its stream."""
        self.heard = True
        for message in messages:
            headers = message.headers
            if SIGNAL in headers or CHUNKED in headers:
                whole = self._on_special(message)
                if whole is None:
                    continue
                message, headers = whole, whole.headers
            # Taken out at once: a second reply with this id finds no call and is counted as late.
            pending = self._pending.pop(headers.get(ID, ""), None)
            if pending is None:
                self._on_stream_frame(message)
                continue
            reply, bundle, slot = pending
            if slot is not None:
                slot.discard(reply)
            if bundle is not None and bundle > self._answered_bundle:
                self._answered_bundle = bundle
            if self._has_chunks:
                # An error may come in place of further chunks.
                self._assembler.drop(headers[ID])
            if not reply.done():
                reply.set_result(message)

    def closed(self, error: TransportError) -> None:
        """End every call and stream at once, each with what the close means for it."""
        self.error = error
        pending, self._pending = self._pending, {}
        if error.bundle is not None and error.bundle <= self._answered_bundle:
            # A bundle that the close frame disowns was answered: the frame cannot be believed.
            error = ConnectionLost(error.detail)
        end_all(pending.values(), error, alone=len(pending) == 1 and not self._streams)
        for stream in tuple(self._streams.values()):
            stream.end(error_for(error, 0, alone=False))
        self._assembler.shutdown()
        self._on_closed(self)

    def _prepare(
        self, headers: dict[str, str], id: str, reply: Reply, deadline: Deadline | None
    ) -> set[Reply] | None:
        if self.error is not None:
            closed = error_for(self.error, 0, alone=True)
            closed.refused = True
            raise closed
        if len(self._pending) >= _MAX_PENDING:
            raise ResourceExhausted(
                f"{_MAX_PENDING} calls to one node wait for replies",
                id="micro.client",
                refused=True,
            )
        # These headers are a copy of the plan's, so each call may write its own into them.
        headers[ID] = id
        if not self.native:
            set_id(headers, id, native=False)
        if deadline is None:
            return None
        headers[TIMEOUT] = timeout_of(deadline)
        return self._timers.add(deadline.at, reply)

    def _abandon(self, id: str, reply: Reply, slot: set[Reply] | None) -> None:
        if slot is not None:
            slot.discard(reply)
        self._assembler.close(id)
        if self._pending.pop(id, None) is not None and self.native:
            self.send_signal({ID: id, SIGNAL: "cancel"})

    async def _call_in_chunks(self, id: str, pending: Pending, message: Message) -> None:
        """Send a large request; an early reply, such as a refusal, ends the sending."""
        assembler = self._assembler
        answered = Cancelled("the call has ended")
        pending.reply.add_done_callback(lambda _: assembler.abort(id, answered))
        try:
            bundle = await assembler.send(message)
            if id in self._pending:
                self._pending[id] = pending._replace(bundle=bundle)
        except MicroError:
            if not pending.reply.done():
                raise
        finally:
            assembler.close(id)

    def _compress(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        assert self._compression is not None
        headers[ACCEPT_ENCODING] = self._compression.name
        return self._compression.compress(headers, body)

    def _on_special(self, message: Message) -> Message | None:
        """Handle a signal or a chunk; returns a message that is whole now."""
        headers = message.headers
        id = headers.get(ID, "")
        whole: Message | None = message
        try:
            if is_chunk(headers):
                stream = self._streams.get(id)
                if stream is None and id not in self._pending:
                    # Kept for a call that has ended, it would wait for its other chunks forever.
                    self.counters.late_replies += 1
                    return None
                self._has_chunks = True
                whole = self._assembler.receive(message, stream.window if stream else None)
            elif SIGNAL in headers:
                # For a stream, or one that only newer peers know: never an answer.
                if (stream := self._streams.get(id)) is not None:
                    stream.on_signal(headers)
                return None
            return whole
        except MicroError as error:
            # The caller receives it as if the peer had sent it.
            return Message({ID: id, ERROR: error_to_wire(error)}, b"")

    def _on_stalled(self, headers: dict[str, str], error: MicroError) -> None:
        """End the call or stream whose answer stopped arriving."""
        lost = ConnectionLost(error.detail, id="micro.client")
        id = headers.get(ID, "")
        if (pending := self._pending.pop(id, None)) is not None and not pending.reply.done():
            pending.reply.set_exception(lost)
        if (stream := self._streams.get(id)) is not None:
            stream.fail(lost)

    def _on_stream_frame(self, message: Message) -> None:
        headers: Mapping[str, str] = message.headers
        if (stream := self._streams.get(headers.get(ID, ""))) is not None:
            stream.on_frame(message)
        elif not self.native and ID not in headers:
            self._on_go_micro_frame(message)
        else:
            self.counters.late_replies += 1

    def _on_go_micro_frame(self, message: Message) -> None:
        headers = canonical(message.headers)
        if TOPIC in headers:
            return  # the echo of a keep-alive
        if ID in headers:
            self.received([Message(headers, message.body)])
        else:
            self.counters.late_replies += 1
