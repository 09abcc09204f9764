"""Running a handler whose requests or responses stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from micro.codec.contract import Decoder, Encoder
from micro.message import Message
from micro.middleware import Response
from micro.server.call import Call, write_response
from micro.wire.flow import WINDOW_ITEMS, ReceiveWindow, SendCredit
from micro.wire.headers import (
    CONTENT_TYPE,
    CREDIT,
    EOS,
    ID,
    SIGNAL,
    application_headers,
    credit_from,
    error_headers,
    stream_reply_headers,
)

__all__ = ["open_flows", "run_stream"]

_BREATH = 64
_FOREIGN_WINDOW = 1024
_JSON = "application/json"

Invoke = Callable[[Call, Any], Awaitable[Response]]


def open_flows(call: Call) -> None:
    """Give a call that streams its two directions, before its first frame is handed on."""
    headers = call.headers
    if CREDIT not in headers:
        call.inflow = ReceiveWindow(None, limit=_FOREIGN_WINDOW)
        call.outflow = SendCredit(None)
        return
    call.outflow = SendCredit(credit_from(headers))

    def grant(items: int) -> None:
        frame = {ID: headers[ID], SIGNAL: "credit", CREDIT: str(items)}
        call.session.send(Message(frame, b""))

    call.inflow = ReceiveWindow(grant)
    if call.mounted.endpoint.kind.streams_requests:
        grant(WINDOW_ITEMS)


async def run_stream(call: Call, invoke: Invoke, decode: Decoder, encode: Encoder) -> None:
    """Run a streaming handler to its end, and say that it ended.

    Raises:
        MicroError: the client sent what does not fit, or left; or the handler's own error.
    """
    endpoint = call.mounted.endpoint
    value: Any = None
    if endpoint.kind.streams_requests:
        value = _requests(call, decode)
    elif endpoint.takes_request:
        value = decode(await _first(call))
    response = await invoke(call, value)
    kind = call.headers.get(CONTENT_TYPE, _JSON)
    own = application_headers(response.headers)
    headers = {**own, **stream_reply_headers(call.headers, kind)}
    if endpoint.kind.streams_responses:
        await _send_all(call, response.value, headers, encode)
    else:
        assert call.outflow is not None
        await call.outflow.acquire()
        await call.session.send_large(
            call, Message(headers, write_response(encode, response.value))
        )
    call.session.send(Message(error_headers(call.headers, EOS), b""))


async def _send_all(
    call: Call, responses: AsyncIterator[Any], headers: dict[str, str], encode: Encoder
) -> None:
    outflow, session = call.outflow, call.session
    assert outflow is not None
    count = 0
    async with aclosing(responses) as items:  # type: ignore[type-var]  # layers may wrap generators
        async for item in items:
            await outflow.acquire()
            await session.send_large(call, Message(headers, write_response(encode, item)))
            count += 1
            if not count % _BREATH:
                # A handler that never waits would starve every other call.
                await session.socket.drain()
                await asyncio.sleep(0)


async def _requests(call: Call, decode: Decoder) -> AsyncIterator[Any]:
    assert call.inflow is not None
    if call.body and CREDIT in call.headers:
        yield decode(call.body)
    while (body := await call.inflow.receive()) is not None:
        yield decode(body)


async def _first(call: Call) -> bytes:
    """The one request of a server stream.

    A native client sends it with the opening frame. A go-micro client sends it as the second
    frame, and go-micro servers discard the first one's body (go-micro `server/rpc_router.go`).
    """
    if CREDIT in call.headers:
        return call.body
    assert call.inflow is not None
    return await call.inflow.receive() or b""
