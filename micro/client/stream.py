"""A stream as its client sees it."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any, Generic, TypeVar

from micro.client.stream_call import StreamCall
from micro.codec.contract import Decoder, Encoder
from micro.errors import BadRequest, ConnectionLost, InternalError, MicroError

__all__ = ["ClientStream"]

T = TypeVar("T")


class ClientStream(Generic[T]):
    """Answers to iterate over, and room to send requests; open it with `Client.stream`.

    Answers come in the order they were sent. Iterating ends when the peer ended the stream in
    good order, and raises its error otherwise; what came before the error can still be read.
    """

    def __init__(self, call: StreamCall, encode: Encoder | None, decode: Decoder) -> None:
        self._call = call
        self._encode = encode
        self._decode = decode

    def __aiter__(self) -> ClientStream[T]:
        return self

    async def __anext__(self) -> T:
        body = await self._call.inflow.read()
        if body is None:
            raise StopAsyncIteration
        return self._read(body)

    async def receive(self) -> T:
        """The next answer, for a stream that must have one.

        Raises:
            ConnectionLost: the stream ended without it.
            MicroError: the stream failed.
        """
        body = await self._call.inflow.read()
        if body is None:
            raise ConnectionLost("the stream ended without an answer", id="micro.client")
        return self._read(body)

    async def send(self, request: Any) -> None:
        """Send one request; waits while the peer has no room for it.

        Raises:
            MicroError: the peer has ended the stream.
        """
        assert self._encode is not None
        await self._call.send(self._encode(request))

    def finish(self) -> None:
        """Say that no more requests come; answers still do. A second call does nothing.

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
            if not self._call.inflow.ended:
                raise
        self.finish()

    def _read(self, body: bytes) -> T:
        try:
            answer: T = self._decode(body)
        except BadRequest as error:
            raise InternalError(
                f"an answer of the stream cannot be read: {error.detail}", id="micro.client"
            ) from error
        return answer
