"""Running a handler whose requests or responses stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from micro.codec.contract import Decoder, Encoder
from micro.errors import ResourceExhausted
from micro.message import Message
from micro.middleware import Response
from micro.server.answers import encode_response, own_headers
from micro.server.bodies import Bodies, EncodedBody
from micro.server.call import Call
from micro.wire.compression import MIN_COMPRESS_BYTES
from micro.wire.flow import WINDOW_ITEMS, ReceiveWindow, SendCredit
from micro.wire.headers import (
    CONTENT_TYPE,
    CREDIT,
    EOS,
    ID,
    SIGNAL,
    credit_bytes_from,
    credit_from,
    credit_headers,
    error_headers,
    stream_reply_headers,
)
from micro.wire.limits import WINDOW_BYTES

__all__ = ["open_flows", "run_stream"]

_YIELD_EVERY_ITEMS = 64
_GO_MICRO_WINDOW_ITEMS = 1024
"""go-micro's client sends without credit, so a handler that is slow for a while needs a reserve."""
_JSON = "application/json"

Invoke = Callable[[Call, Any], Awaitable[Response]]


def open_flows(call: Call) -> None:
    """Give a call that streams its two directions, before its first frame is dispatched."""
    headers = call.headers
    if CREDIT not in headers:
        limit, budget = _GO_MICRO_WINDOW_ITEMS, call.replies.budget
        call.window = ReceiveWindow(None, limit=limit, budget=budget)
        call.credit = SendCredit(None)
        return
    size = credit_bytes_from(headers)
    call.credit = SendCredit(credit_from(headers), size)
    counts_bytes = size is not None

    def grant(items: int, size: int) -> None:
        credit = credit_headers(items, size if counts_bytes else None)
        call.replies.send(Message({ID: headers[ID], SIGNAL: "credit", **credit}, b""))

    call.window = ReceiveWindow(grant, budget=call.replies.budget)
    if call.mounted.endpoint.kind.streams_requests:
        grant(WINDOW_ITEMS, WINDOW_BYTES)


async def run_stream(
    call: Call, invoke: Invoke, coders: tuple[Decoder, Encoder], bodies: Bodies
) -> None:
    """Run a streaming handler to its end, and send the frame that says so.

    Raises:
        MicroError: the client sent what does not fit, or left; or the handler's own error.
        UnsendableReply: a response or a header of the handler's cannot be sent.
    """
    decode, encode = coders
    endpoint = call.mounted.endpoint
    value: Any = None
    if endpoint.kind.streams_requests:
        value = _requests(call, decode, bodies)
    elif endpoint.takes_request:
        value = decode(await _first(call, bodies))
    response = await invoke(call, value)
    if endpoint.kind.streams_responses:
        await _send_all(call, response, encode)
    else:
        assert call.credit is not None
        body = encode_response(encode, response.value, call)
        message = Message(_headers(call, response), body)
        await call.credit.acquire()
        await call.replies.send_large(call, message)
    await call.replies.send_large(call, Message(error_headers(call.headers, EOS), b""))


def _headers(call: Call, response: Response) -> dict[str, str]:
    kind = call.headers.get(CONTENT_TYPE, _JSON)
    return {**own_headers(response.headers), **stream_reply_headers(call.headers, kind)}


async def _send_all(call: Call, response: Response, encode: Encoder) -> None:
    credit, replies = call.credit, call.replies
    assert credit is not None
    headers: dict[str, str] | None = None
    async with aclosing(response.value) as items:
        async for item in items:
            if headers is None:
                # Only now: the handler's own code, which sets headers, begins with the first item.
                headers = _headers(call, response)
            await credit.acquire()
            message = Message(headers, encode_response(encode, item, call))
            if len(message.body) >= MIN_COMPRESS_BYTES:
                await replies.send_large(call, message)
            else:
                try:
                    replies.send(message)
                    credit.spend(len(message.body))
                except ResourceExhausted:
                    await replies.send_large(call, message)
            call.items += 1
            if not call.items % _YIELD_EVERY_ITEMS:
                # A handler that never waits would starve every other call.
                await replies.drain()
                await asyncio.sleep(0)


async def _requests(call: Call, decode: Decoder, bodies: Bodies) -> AsyncIterator[Any]:
    if call.body and CREDIT in call.headers:
        yield decode(call.body)
    while (body := await _receive(call, bodies)) is not None:
        yield decode(body)


async def _first(call: Call, bodies: Bodies) -> bytes:
    """The one request of a server stream.

    A native client sends it with the opening frame. A go-micro client sends it as the second
    frame, and go-micro servers discard the first one's body (go-micro `server/rpc_router.go`).
    """
    if CREDIT in call.headers:
        return call.body
    return await _receive(call, bodies) or b""


async def _receive(call: Call, bodies: Bodies) -> bytes | None:
    assert call.window is not None
    call.reading = True
    body = await call.window.receive()
    call.reading = False
    call.items += 1
    if isinstance(body, EncodedBody):
        return await bodies.expand(body.encoding, body)
    return body
