"""Small pages over HTTP, for what supervises and measures the process.

Only GET and HEAD, one request per connection. A probe gets through whatever others do:
connections, bytes and seconds are bounded, a new connection takes the place of the oldest one that
is idle, and requests for one page that come together share one answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import NamedTuple, cast

from micro.errors import ConfigError
from micro.scope import Scope, open_scope

__all__ = ["Page", "Text", "serve_pages"]

_log = logging.getLogger("micro.service")

MAX_CONNECTIONS = 64
MAX_REQUEST_BYTES = 8192
MAX_DISCARDED_BYTES = 65_536
EXCHANGE_SECONDS = 5.0
PAGE_SECONDS = 4.5
LINGER_SECONDS = 1.0


class Text(NamedTuple):
    """What a page answers.

    Attributes:
        text: The body.
        status: The HTTP status.
        content_type: Of the body.
    """

    text: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Text]]
"""Gives the answer of one path; it has 4.5 s."""


@asynccontextmanager
async def serve_pages(
    address: str, pages: Mapping[str, Page], *, setting: str
) -> AsyncIterator[str]:
    """Answer requests inside a block.

    Args:
        address: `host:port`, or `:port` for every interface; port 0 takes a free one.
        pages: What answers, by path.
        setting: The setting that the address comes from, for errors.

    Yields:
        The address that was bound, as `host:port`.

    Raises:
        ConfigError: the address cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConfigError(f"{setting} {address!r}: expected host:port")
    loop = asyncio.get_running_loop()
    async with open_scope() as scope:
        visitors = _Visitors(scope, pages)
        try:
            server = await loop.create_server(
                lambda: _Exchange(visitors), host.strip("[]") or None, int(port)
            )
        except (OSError, OverflowError) as error:
            raise ConfigError(f"{setting} {address!r}: {error}") from error
        try:
            bound = server.sockets[0].getsockname()
            yield f"{bound[0]}:{bound[1]}"
        finally:
            server.close()
            visitors.abort()
            await server.wait_closed()


class _Visitors:
    """All open connections, and the answers that they wait for."""

    def __init__(self, scope: Scope, pages: Mapping[str, Page]) -> None:
        self._scope = scope
        self._pages = pages
        self._open: dict[_Exchange, None] = {}
        self._waiting: dict[str, list[_Exchange]] = {path: [] for path in pages}

    def add(self, exchange: _Exchange) -> None:
        """Count a new connection; over the bound, the oldest idle one is dropped for it."""
        if len(self._open) >= MAX_CONNECTIONS:
            idle = (one for one in self._open if one.idle)
            next(idle, next(iter(self._open))).abort()
        self._open[exchange] = None

    def remove(self, exchange: _Exchange) -> None:
        """Forget a connection that is closed."""
        self._open.pop(exchange, None)

    def ask(self, path: str, exchange: _Exchange) -> None:
        """Answer a request when its page has been made."""
        waiting = self._waiting.get(path)
        if waiting is None:
            known = " or ".join(self._pages)
            exchange.answer(Text(f"try {known}", HTTPStatus.NOT_FOUND))
            return
        waiting.append(exchange)
        if len(waiting) == 1:
            self._scope.start(self._answer(path), name=f"micro.page{path}")

    def abort(self) -> None:
        """Close every connection."""
        for exchange in tuple(self._open):
            exchange.abort()

    async def _answer(self, path: str) -> None:
        answer = await self._made(path)
        waiting, self._waiting[path] = self._waiting[path], []
        for exchange in waiting:
            exchange.answer(answer)

    async def _made(self, path: str) -> Text:
        try:
            async with asyncio.timeout(PAGE_SECONDS):
                return await self._pages[path]()
        except Exception as error:
            # A page reads other people's code; it must not end the service.
            _log.exception("the page %s failed", path)
            return Text(f"the page failed: {type(error).__name__}", HTTPStatus.SERVICE_UNAVAILABLE)


class _Exchange(asyncio.Protocol):
    """One connection: one request and its response.

    Attributes:
        idle: Whether its request has not arrived, or has been answered already.
    """

    def __init__(self, visitors: _Visitors) -> None:
        self.idle = True
        self._visitors = visitors
        self._request = b""
        self._answered = False
        self._discarded = 0
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection for the response."""
        # A cast, not a check: uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(EXCHANGE_SECONDS, self.abort)
        self._visitors.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Forget the connection."""
        self._timer.cancel()
        self._visitors.remove(self)

    def data_received(self, data: bytes) -> None:
        """Collect the head of the request and answer it; discard what follows."""
        if self._answered or not self.idle:
            self._discard(len(data))
            return
        self._request += data[: MAX_REQUEST_BYTES + 1]
        if b"\r\n\r\n" in self._request or len(self._request) > MAX_REQUEST_BYTES:
            self.idle = False
            self._route(self._request.split(b"\r\n", 1)[0].split(b" "))

    def eof_received(self) -> bool:
        """Keep a half-closed connection open while its answer is on the way."""
        return not self.idle and not self._answered

    def answer(self, answer: Text) -> None:
        """Send the response and close."""
        if self._answered or self._transport.is_closing():
            return
        self._answered = self.idle = True
        body = f"{answer.text}\n".encode()
        status = answer.status
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + (b"" if self._request[:4] == b"HEAD" else body))
        # Closing with unread bytes would reset the connection, and the peer would lose the answer.
        self._transport.write_eof()
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.abort)

    def abort(self) -> None:
        """Close the connection at once."""
        self._timer.cancel()
        self._visitors.remove(self)
        self._transport.abort()

    def _route(self, line: list[bytes]) -> None:
        if len(line) != 3 or line[0] not in (b"GET", b"HEAD"):
            self.answer(Text("only GET and HEAD", HTTPStatus.BAD_REQUEST))
        else:
            path = line[1].partition(b"?")[0].decode("latin-1")
            self._visitors.ask(path, self)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > MAX_DISCARDED_BYTES:
            self.abort()
