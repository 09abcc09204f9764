"""The client's side of one socket: many calls and streams over it, told apart by their ids."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from micro.client.stream_call import StreamCall
from micro.concurrency.timers import Timers
from micro.deadline import Deadline, enforce
from micro.errors import (
    Cancelled,
    ConnectionLost,
    DeadlineExceeded,
    MicroError,
    NoResponders,
    ResourceExhausted,
    TransportError,
    error_to_wire,
)
from micro.message import Message
from micro.telemetry.metrics import ClientCounters
from micro.transport.contract import Receiver, Socket
from micro.wire.chunks import SMALL, Pieces, is_piece
from micro.wire.compression import ACCEPT_ENCODING, CONTENT_ENCODING, Compression, expand
from micro.wire.flow import WINDOW
from micro.wire.headers import (
    CREDIT,
    ERROR,
    ID,
    PIECES,
    SIGNAL,
    STREAM,
    TIMEOUT,
    TOPIC,
    canonical,
    is_native,
    ping_headers,
    set_id,
    timeout_of,
)

__all__ = ["Connection", "expire_reply"]

_log = logging.getLogger("micro.client")
_MOST_PENDING = 65_536
# Until its last piece has left, a request has surely not arrived whole.
_NOT_YET = 1 << 62

_Reply = asyncio.Future[Message]


class _Pending(NamedTuple):
    reply: _Reply
    bundle: int
    slot: set[_Reply] | None


class Connection(Receiver):
    """Calls over one socket to one node.

    Args:
        timers: Where calls wait for their deadlines; its items are the replies' futures.
        metadata: The node's, which tells the dialect it understands.
        on_closed: Called once when the socket is gone.
        compression: How requests are compressed; `None` for not at all.
        counters: Where late replies are counted; its own when not given.

    Attributes:
        socket: Its socket; whoever dials sets it before the first call.
        native: Whether the node understands the native dialect.
        error: Why the socket is gone, once it is.
        heard: Whether anything came since somebody last set it to false.
        counters: What was counted so far.
    """

    __slots__ = (
        "_compression",
        "_loop",
        "_next_id",
        "_on_closed",
        "_pending",
        "_pieces",
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
        timers: Timers[_Reply],
        metadata: Mapping[str, str],
        on_closed: Callable[[Connection], None],
        compression: Compression | None = None,
        counters: ClientCounters | None = None,
    ) -> None:
        self.native = is_native(metadata)
        self.error: TransportError | None = None
        self.heard = True
        self.counters = counters or ClientCounters()
        self.socket: Socket
        self._timers = timers
        self._on_closed = on_closed
        self._compression = compression if self.native else None
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._pending: dict[str, _Pending] = {}
        self._streams: dict[str, StreamCall] = {}
        self._pieces: Pieces | None = None

    def __len__(self) -> int:
        """How many calls and streams are under way."""
        return len(self._pending) + len(self._streams)

    @property
    def awaited(self) -> int:
        """How many calls wait for their replies."""
        return len(self._pending)

    @property
    def streaming(self) -> bool:
        """Whether a stream is open, so that silence must not be mistaken for absence."""
        return bool(self._streams)

    async def call(
        self, headers: dict[str, str], body: bytes, deadline: Deadline | None
    ) -> Message:
        """Send a request and wait for its reply, whatever it says.

        Args:
            headers: The request's own; id and timeout are added.
            body: The request as its codec wrote it.
            deadline: Until when to wait.

        Raises:
            DeadlineExceeded: no reply came in time.
            TransportError: it could not be sent, or the socket ended; see its `refused`.
        """
        self._next_id = number = self._next_id + 1
        id = str(number)
        reply: _Reply = self._loop.create_future()
        slot = self._prepare(headers, id, reply, deadline)
        if self._compression is not None:
            headers, body = self._shrink(headers, body)
        try:
            if len(body) > SMALL and self.native and len(body) > self.socket.largest:
                self._pending[id] = pending = _Pending(reply, _NOT_YET, slot)
                await self._call_in_pieces(id, pending, Message(headers, body))
            else:
                message = Message(headers, body)
                try:
                    bundle = self.socket.send(message)
                except MicroError as error:
                    bundle = await self._send_late(message, deadline, error)
                self._pending[id] = _Pending(reply, bundle, slot)
            return await reply
        except BaseException:
            self._abandon(id, reply, slot)
            raise

    async def open_stream(
        self, headers: dict[str, str], body: bytes, deadline: Deadline | None
    ) -> StreamCall:
        """Open a stream; `body` is its first request, which go-micro servers do not look at.

        Raises:
            TransportError: it could not be sent.
        """
        self._next_id = number = self._next_id + 1
        id = str(number)
        set_id(headers, id, native=self.native)
        headers[STREAM] = id
        call = StreamCall(self, id, {ID: id, STREAM: id} if self.native else headers)
        opening = dict(headers)
        if deadline is not None:
            opening[TIMEOUT] = timeout_of(deadline)
        if self.native:
            opening[CREDIT] = str(WINDOW)
        self._streams[id] = call
        try:
            await self.send(Message(opening, body))
        except BaseException:
            self.forget_stream(call)
            raise
        return call

    def forget_stream(self, call: StreamCall) -> None:
        """Take a stream off the connection's books."""
        self._streams.pop(call.id, None)
        if self._pieces is not None:
            self._pieces.stop(call.id, Cancelled("the stream has ended"))
            self._pieces.close(call.id)

    def say(self, headers: dict[str, str]) -> None:
        """Send a frame that nobody waits for; a socket that is gone makes it pointless."""
        if self.error is None:
            try:
                self.socket.send(Message(headers, b""))
            except TransportError as error:
                _log.debug("a %s frame was not sent: %s", headers.get(SIGNAL, "control"), error)

    async def send(self, message: Message) -> None:
        """Send a frame of a stream, in pieces if it must be.

        Raises:
            MicroError: it could not be sent.
        """
        if self._compression is not None:
            message = Message(*self._shrink(*message))
        if len(message.body) > SMALL and self.native and len(message.body) > self.socket.largest:
            await self._in_pieces().send(message)
        else:
            await self._send_when_room(message)

    async def _send_when_room(self, message: Message) -> int:
        while True:
            try:
                return self.socket.send(message)
            except ResourceExhausted:
                await self.socket.drain()
                await asyncio.sleep(0)

    def ping(self) -> None:
        """Keep the socket alive at the other end."""
        self.say(ping_headers("", native=self.native))

    def received(self, messages: Sequence[Message]) -> None:
        """Give each reply to the call that waits for it, each stream its frames."""
        self.heard = True
        for message in messages:
            headers = message.headers
            if SIGNAL in headers or PIECES in headers or CONTENT_ENCODING in headers:
                whole = self._signalled(message)
                if whole is None:
                    continue
                message, headers = whole, whole.headers
            pending = self._pending.pop(headers.get(ID, ""), None)
            if pending is None:
                self._other(message)
                continue
            reply, _, slot = pending
            if slot is not None:
                slot.discard(reply)
            if self._pieces is not None:
                self._pieces.forget(headers[ID])  # an error may come in place of the rest
            if not reply.done():
                reply.set_result(message)

    def closed(self, error: TransportError) -> None:
        """End every call and stream at once, each with what the end means for it."""
        self.error = error
        pending, self._pending = self._pending, {}
        alone = len(pending) == 1 and not self._streams
        for call in pending.values():
            if call.slot is not None:
                call.slot.discard(call.reply)
            if not call.reply.done():
                call.reply.set_exception(_fate(error, call.bundle, alone=alone))
        for stream in tuple(self._streams.values()):
            stream.end(_fate(error, 0, alone=False))
        self._on_closed(self)

    def _prepare(
        self, headers: dict[str, str], id: str, reply: _Reply, deadline: Deadline | None
    ) -> set[_Reply] | None:
        if self.error is not None:
            gone = _fate(self.error, 0, alone=True)
            gone.refused = True
            raise gone
        if len(self._pending) >= _MOST_PENDING:
            raise ResourceExhausted(
                f"{_MOST_PENDING} calls to one node wait for replies",
                id="micro.client",
                refused=True,
            )
        headers[ID] = id
        if not self.native:
            set_id(headers, id, native=False)
        if deadline is None:
            return None
        headers[TIMEOUT] = timeout_of(deadline)
        return self._timers.add(deadline.at, reply)

    def _abandon(self, id: str, reply: _Reply, slot: set[_Reply] | None) -> None:
        if slot is not None:
            slot.discard(reply)
        if self._pieces is not None:
            self._pieces.close(id)
        if self._pending.pop(id, None) is not None and self.native:
            self.say({ID: id, SIGNAL: "cancel"})

    async def _send_late(
        self, message: Message, deadline: Deadline | None, error: MicroError
    ) -> int:
        """Send what was not taken at once when there is room for it; raise any other error."""
        # Whatever the reason, it was not sent, so it did not run.
        error.refused = True
        if not isinstance(error, ResourceExhausted):
            raise error
        async with enforce(deadline, "sending the request"):
            return await self._send_when_room(message)

    async def _call_in_pieces(self, id: str, pending: _Pending, message: Message) -> None:
        """Send a large request; a reply that comes early, a refusal, ends the sending."""
        pieces = self._in_pieces()
        gone = Cancelled("nobody waits for the answer any more")
        pending.reply.add_done_callback(lambda _: pieces.stop(id, gone))
        try:
            bundle = await pieces.send(message)
            if id in self._pending:
                self._pending[id] = pending._replace(bundle=bundle)
        except MicroError:
            if not pending.reply.done():
                raise
        finally:
            pieces.close(id)

    def _shrink(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        assert self._compression is not None
        headers[ACCEPT_ENCODING] = self._compression.name
        return self._compression.shrink(headers, body)

    def _in_pieces(self) -> Pieces:
        if self._pieces is None:
            self._pieces = Pieces(self.socket)
        return self._pieces

    def _signalled(self, message: Message) -> Message | None:
        """Take a frame that steers or is not plain; returns the message if it is whole and one."""
        whole: Message | None = message
        try:
            if is_piece(message.headers):
                id = message.headers.get(ID, "")
                if id not in self._pending and id not in self._streams:
                    # Taken for a call that has ended, it would wait for its other pieces for ever.
                    self.counters.late_replies += 1
                    return None
                whole = self._in_pieces().take(message, self.say)
            elif SIGNAL in message.headers:
                # For a stream, or a word that only newer peers know: never an answer.
                if (stream := self._streams.get(message.headers.get(ID, ""))) is not None:
                    stream.steer(message.headers)
                return None
            if whole is not None and CONTENT_ENCODING in whole.headers:
                whole = Message(whole.headers, expand(*whole))
            return whole
        except MicroError as error:
            # The caller learns it as if the peer had said so.
            return Message({ID: message.headers.get(ID, ""), ERROR: error_to_wire(error)}, b"")

    def _other(self, message: Message) -> None:
        headers: Mapping[str, str] = message.headers
        if (stream := self._streams.get(headers.get(ID, ""))) is not None:
            stream.take(message)
        elif not self.native and ID not in headers:
            self._foreign(message)
        else:
            self.counters.late_replies += 1

    def _foreign(self, message: Message) -> None:
        headers = canonical(message.headers)
        if TOPIC in headers:
            return  # the echo of a keep-alive
        if ID in headers:
            self.received([Message(headers, message.body)])
        else:
            self.counters.late_replies += 1


def expire_reply(reply: _Reply) -> None:
    """End the wait for a reply whose deadline has come."""
    if not reply.done():
        reply.set_exception(DeadlineExceeded("no answer in time", id="micro.client"))


def _fate(error: TransportError, bundle: int, *, alone: bool) -> TransportError:
    """What a socket's end means for one call: whether it surely did not run.

    Args:
        error: What the socket ended with.
        bundle: The call's.
        alone: Whether it was the only one under way.
    """
    if error.bundle is None and not isinstance(error, NoResponders):
        return type(error)(error.detail, id="micro.client", refused=error.refused)
    # Without bundles nobody says for which of the messages nobody was there.
    if not (alone if error.bundle is None else bundle >= error.bundle):
        return ConnectionLost(error.detail, id="micro.client")
    if isinstance(error, NoResponders):
        return NoResponders(error.detail, bundle=error.bundle)
    return type(error)(error.detail, id="micro.client", refused=True)
