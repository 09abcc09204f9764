"""The client's side of one socket: many calls and streams over it, told apart by their ids."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from micro.deadline import Deadline
from micro.errors import (
    ConnectionLost,
    DeadlineExceeded,
    MicroError,
    NoResponders,
    ResourceExhausted,
    TransportError,
)
from micro.message import Message
from micro.protocol import (
    CREDIT,
    EOS,
    ERROR,
    ID,
    SIGNAL,
    STREAM,
    TIMEOUT,
    TOPIC,
    canonical,
    error_from,
    is_native,
    ping_headers,
    set_id,
    timeout_of,
)
from micro.stream import WINDOW, Inflow, Outflow
from micro.timers import Timers
from micro.transport.contract import Receiver, Socket

__all__ = ["Connection", "StreamCall", "expire_reply"]

_log = logging.getLogger("micro.client")
_MOST_PENDING = 65_536
# go-micro peers know no credit: their items are taken in up to this many.
_FOREIGN_WINDOW = 16_384

_Reply = asyncio.Future[Message]


@dataclass(slots=True)
class _Pending:
    reply: _Reply
    parcel: int
    slot: set[_Reply] | None


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
        self._connection.socket.send(Message(self._headers, body))

    def finish(self) -> None:
        """Say that no more requests come. go-micro has no such word: it would end the stream."""
        if self._connection.native and not self.inflow.ended:
            self._signal("end")

    def close(self) -> None:
        """Leave the stream; a peer that still works on it is told to stop."""
        if self.ended:
            return
        self.ended = True
        self._connection.forget_stream(self)
        if self.inflow.ended:
            return
        if self._connection.native:
            self._signal("cancel")
        else:
            self._connection.say({**self._headers, ERROR: EOS})

    def take(self, message: Message) -> None:
        """Take a frame of the peer's for this stream."""
        headers = message.headers
        if (credit := headers.get(CREDIT)) is not None and headers.get(SIGNAL) == "credit":
            if credit.isdigit():
                self.outflow.add(int(credit[:9]))
        elif headers.get(ERROR) is None:
            if not self.inflow.feed(message.body):
                self.outflow.fail(ResourceExhausted("the reader is too slow"))
                if self._connection.native:
                    self._signal("cancel")
        else:
            self.end(None if headers[ERROR] == EOS else error_from(headers))

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


class Connection(Receiver):
    """Calls over one socket to one node.

    Args:
        timers: Where calls wait for their deadlines; its items are the replies' futures.
        metadata: The node's, which tells the dialect it understands.
        on_closed: Called once when the socket is gone.

    Attributes:
        socket: Its socket; whoever dials sets it before the first call.
        native: Whether the node understands the native dialect.
        error: Why the socket is gone, once it is.
        heard: Whether anything came since somebody last set it to false.
        late: Replies that nobody waited for any more.
    """

    __slots__ = (
        "_loop",
        "_next_id",
        "_on_closed",
        "_pending",
        "_streams",
        "_timers",
        "error",
        "heard",
        "late",
        "native",
        "socket",
    )

    def __init__(
        self,
        *,
        timers: Timers[_Reply],
        metadata: Mapping[str, str],
        on_closed: Callable[[Connection], None],
    ) -> None:
        self.native = is_native(metadata)
        self.error: TransportError | None = None
        self.heard = True
        self.late = 0
        self.socket: Socket
        self._timers = timers
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._pending: dict[str, _Pending] = {}
        self._streams: dict[str, StreamCall] = {}

    def __len__(self) -> int:
        """How many calls and streams are under way."""
        return len(self._pending) + len(self._streams)

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
        try:
            parcel = self.socket.send(Message(headers, body))
            self._pending[id] = _Pending(reply, parcel, slot)
            return await reply
        except BaseException:
            self._abandon(id, reply, slot)
            raise

    def open_stream(
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
        self.socket.send(Message(opening, body))
        self._streams[id] = call
        return call

    def forget_stream(self, call: StreamCall) -> None:
        """Take a stream off the connection's books."""
        self._streams.pop(call.id, None)

    def say(self, headers: dict[str, str]) -> None:
        """Send a frame that nobody waits for; a socket that is gone makes it pointless."""
        if self.error is None:
            try:
                self.socket.send(Message(headers, b""))
            except TransportError as error:
                _log.debug("a %s frame was not sent: %s", headers.get(SIGNAL, "control"), error)

    def ping(self) -> None:
        """Keep the socket alive at the other end."""
        self.say(ping_headers("", native=self.native))

    def received(self, messages: Sequence[Message]) -> None:
        """Give each reply to the call that waits for it, each stream its frames."""
        self.heard = True
        for message in messages:
            headers = message.headers
            pending = self._pending.pop(headers.get(ID, ""), None)
            if pending is None:
                self._other(message)
                continue
            if pending.slot is not None:
                pending.slot.discard(pending.reply)
            if not pending.reply.done():
                pending.reply.set_result(message)

    def closed(self, error: TransportError) -> None:
        """End every call and stream at once, each with what the end means for it."""
        self.error = error
        pending, self._pending = self._pending, {}
        newest = next(reversed(pending), "")
        for id, call in pending.items():
            if call.slot is not None:
                call.slot.discard(call.reply)
            if not call.reply.done():
                call.reply.set_exception(_fate(error, call.parcel, newest=id == newest))
        for stream in tuple(self._streams.values()):
            stream.end(_fate(error, 0, newest=False))
        self._on_closed(self)

    def _prepare(
        self, headers: dict[str, str], id: str, reply: _Reply, deadline: Deadline | None
    ) -> set[_Reply] | None:
        if self.error is not None:
            raise _fate(self.error, 0, newest=True)
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
        if self._pending.pop(id, None) is not None and self.native:
            self.say({ID: id, SIGNAL: "cancel"})

    def _other(self, message: Message) -> None:
        headers: Mapping[str, str] = message.headers
        if (stream := self._streams.get(headers.get(ID, ""))) is not None:
            stream.take(message)
        elif not self.native and ID not in headers:
            self._foreign(message)
        else:
            self.late += 1

    def _foreign(self, message: Message) -> None:
        headers = canonical(message.headers)
        if TOPIC in headers:
            return  # the echo of a keep-alive
        if ID in headers:
            self.received([Message(headers, message.body)])
        else:
            self.late += 1


def expire_reply(reply: _Reply) -> None:
    """End the wait for a reply whose deadline has come."""
    if not reply.done():
        reply.set_exception(DeadlineExceeded("no answer in time", id="micro.client"))


def _fate(error: TransportError, parcel: int, *, newest: bool) -> TransportError:
    """What a socket's end means for one call: whether it surely did not run."""
    if not isinstance(error, NoResponders):
        # A peer that closed in good order has answered all that it took.
        return type(error)(error.detail, id="micro.client", refused=error.refused)
    # Without parcels: once nobody listens nobody will, so at least the newest did not arrive.
    lost = newest if error.parcel is None else parcel >= error.parcel
    if lost:
        return NoResponders(error.detail, parcel=error.parcel)
    return ConnectionLost(error.detail, id="micro.client")
