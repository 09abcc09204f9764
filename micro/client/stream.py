"""A stream from the client's side: what its user sees, and its frames on the channel."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from micro.codec.contract import Decoder, Encoder
from micro.concurrency.budget import ByteBudget
from micro.errors import (
    BadRequest,
    Cancelled,
    ConnectionLost,
    InternalError,
    MicroError,
    ResourceExhausted,
)
from micro.handlers.raises import as_raised
from micro.message import Message
from micro.wire.compression import CONTENT_ENCODING, EncodedBody, encoded_body
from micro.wire.flow import WINDOW_ITEMS, ReceiveWindow, SendCredit
from micro.wire.headers import (
    EOS,
    ERROR,
    ID,
    SIGNAL,
    credit_bytes_from,
    credit_from,
    credit_headers,
    error_from,
)
from micro.wire.limits import process_body_limit, too_large

__all__ = ["ClientStream", "StreamCall", "StreamChannel"]

# go-micro peers know no credit, so bursts must fit; the bytes are bounded separately.
_GO_MICRO_WINDOW_ITEMS = 16_384

T = TypeVar("T")


class ClientStream(Generic[T]):
    """Answers to iterate over, and a way to send requests; open it with `Client.stream`.

    Answers come in the order they were sent. Iterating ends when the peer ended the stream in
    good order, and raises its error otherwise; what came before the error can still be received.
    """

    def __init__(
        self,
        call: StreamCall,
        encode: Encoder | None,
        decode: Decoder,
        raises: Sequence[type[MicroError]] = (),
    ) -> None:
        self._call = call
        self._raises = raises
        self._encode = encode
        self._decode = decode

    def __aiter__(self) -> ClientStream[T]:
        return self

    async def __anext__(self) -> T:
        # Not in a function of its own, which would cost a call for each item.
        try:
            body = await self._call.window.receive()
        except MicroError as error:
            raise self._as_raised(error) from None
        if body is None:
            raise StopAsyncIteration
        return self._read(body)

    async def receive(self) -> T:
        """The next answer, for a stream that must have one.

        Raises:
            ConnectionLost: the stream ended without it.
            MicroError: the stream failed.
        """
        try:
            body = await self._call.window.receive()
        except MicroError as error:
            raise self._as_raised(error) from None
        if body is None:
            raise ConnectionLost("the stream ended without an answer", id="micro.client")
        return self._read(body)

    async def send(self, request: Any) -> None:
        """Send one request; waits while the peer grants no credit.

        Raises:
            MicroError: the peer has ended the stream.
        """
        assert self._encode is not None
        try:
            await self._call.send(self._encode(request))
        except MicroError as error:
            raise self._as_raised(error) from None

    def finish(self) -> None:
        """Tell the peer that no more requests come; answers still do. A second call does nothing.

        go-micro has no half-close: towards a go-micro server this does nothing, and its handler
        must know by itself when it has everything.
        """
        self._call.finish()

    async def send_all(self, requests: AsyncIterable[Any]) -> None:
        """Send every request of an iterable and finish; ends early when the peer ends first."""
        try:
            async for request in requests:
                await self.send(request)
        except MicroError:
            if not self._call.window.ended:
                raise
        self.finish()

    def _as_raised(self, error: MicroError) -> MicroError:
        return as_raised(error, self._raises) if self._raises else error

    def _read(self, body: bytes | EncodedBody) -> T:
        if isinstance(body, EncodedBody):
            body = body.expand()
        try:
            answer: T = self._decode(body)
        except BadRequest as error:
            raise InternalError(
                f"an answer of the stream cannot be read: {error.detail}", id="micro.client"
            ) from error
        return answer


class StreamChannel(Protocol):
    """What a stream needs of the channel it is on."""

    native: bool

    async def send_item(self, message: Message, credit: SendCredit) -> None:
        """Send an item of the stream, and spend credit for its bytes."""

    def send_signal(self, headers: dict[str, str]) -> None:
        """Send a frame without a body."""

    def forget_stream(self, call: StreamCall) -> None:
        """Remove the stream from the channel."""


class StreamCall:
    """The frames of one stream, in both directions.

    Attributes:
        window: Answers that arrived, as bodies.
        credit: How many requests may be sent.
        id: The stream's id on the channel.
        node: The id of the node at the other end.
    """

    __slots__ = ("_channel", "_headers", "closed", "credit", "id", "node", "window")

    def __init__(
        self,
        channel: StreamChannel,
        id: str,
        headers: dict[str, str],
        *,
        budget: ByteBudget | None = None,
    ) -> None:
        native = channel.native
        self._channel = channel
        self._headers = headers
        self.id: str = id
        self.closed: bool = False
        self.node: str = ""
        limit = WINDOW_ITEMS if native else _GO_MICRO_WINDOW_ITEMS
        grant = self._grant if native else None
        self.window: ReceiveWindow = ReceiveWindow(grant, limit=limit, budget=budget)
        self.credit: SendCredit = SendCredit(0 if native else None)

    async def send(self, body: bytes) -> None:
        """Send one request; waits while the peer grants no credit.

        Raises:
            MicroError: the stream has ended.
        """
        await self.credit.acquire()
        await self._channel.send_item(Message(self._headers, body), self.credit)

    def finish(self) -> None:
        """Send the half-close. go-micro has none: its EOS would end the whole stream."""
        if self._channel.native and not self.window.ended:
            self._send_signal("end")

    def close(self) -> None:
        """Leave the stream: drop what was not received, cancel a handler that still runs."""
        if self.closed:
            return
        self.closed = True
        if not self.window.ended:
            if self._channel.native:
                self._send_signal("cancel")
            else:
                self._channel.send_signal({**self._headers, ERROR: EOS})
        self.end(Cancelled("the stream was closed", id="micro.client"))
        self.window.discard()

    def on_frame(self, message: Message) -> None:
        """Take an item of the peer's, or the end of the stream."""
        headers = message.headers
        if headers.get(ERROR) is None:
            encoded = CONTENT_ENCODING in headers
            if len(message.body) > process_body_limit().bytes:
                self.fail(too_large(len(message.body)))
            elif not self.window.put(encoded_body(message) if encoded else message.body):
                self.fail(ResourceExhausted("the reader is too slow", id="micro.client"))
        else:
            self.end(None if headers[ERROR] == EOS else error_from(headers))

    def on_signal(self, headers: Mapping[str, str]) -> None:
        """Take a signal of the peer's; an unknown one is ignored."""
        if headers.get(SIGNAL) == "credit":
            self.credit.grant(credit_from(headers), credit_bytes_from(headers))

    def fail(self, error: MicroError) -> None:
        """End the stream because of this side, and tell the peer."""
        self.window.end(error)
        self.credit.fail(error)
        if self._channel.native:
            self._send_signal("cancel")

    def end(self, error: MicroError | None) -> None:
        """End both directions: the peer ended the stream, or the channel was closed."""
        self._channel.forget_stream(self)
        self.window.end(error)
        self.credit.fail(error or ConnectionLost("the peer ended the stream", id="micro.client"))

    def _grant(self, items: int, size: int) -> None:
        if not self.window.ended:
            signal = {ID: self.id, SIGNAL: "credit", **credit_headers(items, size)}
            self._channel.send_signal(signal)

    def _send_signal(self, signal: str) -> None:
        self._channel.send_signal({ID: self.id, SIGNAL: signal})
