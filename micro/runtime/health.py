"""Liveness and readiness over HTTP, for what supervises the process.

`/livez` answers 200 while the event loop runs. `/readyz` answers 200 when the check of readiness
succeeds, and 503 with the reason otherwise. Only GET and HEAD, one request per connection.

A probe gets through whatever others do: connections, bytes and seconds are bounded, a new
connection takes the place of the oldest one that is idle, and probes share one check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import cast

from micro.errors import ConfigError, MicroError
from micro.scope import Scope, open_scope

__all__ = ["Check", "serve_health"]

_log = logging.getLogger("micro.service")

Check = Callable[[], Awaitable[None]]
"""Returns when the service is ready; raises a MicroError that says why it is not."""

MAX_CONNECTIONS = 64
MAX_REQUEST_BYTES = 8192
MAX_DISCARDED_BYTES = 65_536
EXCHANGE_SECONDS = 5.0
CHECK_SECONDS = 4.0
LINGER_SECONDS = 1.0


@asynccontextmanager
async def serve_health(address: str, ready: Check) -> AsyncIterator[str]:
    """Answer health checks inside a block.

    Args:
        address: `host:port`, or `:port` for every interface; port 0 takes a free one.
        ready: The check of readiness; it has 4 s.

    Yields:
        The address that was bound, as `host:port`.

    Raises:
        ConfigError: the address cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConfigError(f"health_address {address!r}: expected host:port")
    loop = asyncio.get_running_loop()
    async with open_scope() as scope:
        probes = _Probes(scope, ready)
        try:
            server = await loop.create_server(
                lambda: _Exchange(probes), host.strip("[]") or None, int(port)
            )
        except (OSError, OverflowError) as error:
            raise ConfigError(f"health_address {address!r}: {error}") from error
        try:
            bound = server.sockets[0].getsockname()
            yield f"{bound[0]}:{bound[1]}"
        finally:
            server.close()
            probes.abort()
            await server.wait_closed()


class _Probes:
    """All open connections, and the one check that they share."""

    def __init__(self, scope: Scope, ready: Check) -> None:
        self._scope = scope
        self._ready = ready
        self._open: dict[_Exchange, None] = {}
        self._waiting: list[_Exchange] = []

    def add(self, exchange: _Exchange) -> None:
        """Count a new connection; over the bound, the oldest idle one is dropped for it."""
        if len(self._open) >= MAX_CONNECTIONS:
            idle = (one for one in self._open if one.idle)
            next(idle, next(iter(self._open))).abort()
        self._open[exchange] = None

    def remove(self, exchange: _Exchange) -> None:
        """Forget a connection that is closed."""
        self._open.pop(exchange, None)

    def check(self, exchange: _Exchange) -> None:
        """Answer a probe of readiness when the check has ended."""
        self._waiting.append(exchange)
        if len(self._waiting) == 1:
            self._scope.start(self._answer(), name="micro.health.check")

    def abort(self) -> None:
        """Close every connection."""
        for exchange in tuple(self._open):
            exchange.abort()

    async def _answer(self) -> None:
        status, text = await self._checked()
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            exchange.answer(status, text)

    async def _checked(self) -> tuple[HTTPStatus, str]:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._ready()
        except TimeoutError:
            reason = f"the check did not end within {CHECK_SECONDS:g} s"
        except MicroError as error:
            reason = str(error)
        except Exception as error:
            # A plugin's check can raise anything; a probe must not end the service.
            _log.exception("the check of readiness failed")
            reason = f"the check failed: {type(error).__name__}"
        else:
            return HTTPStatus.OK, "ready"
        return HTTPStatus.SERVICE_UNAVAILABLE, reason


class _Exchange(asyncio.Protocol):
    """One connection: one request and its response.

    Attributes:
        idle: Whether its request has not arrived, or has been answered already.
    """

    def __init__(self, probes: _Probes) -> None:
        self.idle = True
        self._probes = probes
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
        self._probes.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Forget the connection."""
        self._timer.cancel()
        self._probes.remove(self)

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

    def answer(self, status: HTTPStatus, text: str) -> None:
        """Send the response and close."""
        if self._answered or self._transport.is_closing():
            return
        self._answered = self.idle = True
        body = f"{text}\n".encode()
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
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
        self._probes.remove(self)
        self._transport.abort()

    def _route(self, line: list[bytes]) -> None:
        if len(line) != 3 or line[0] not in (b"GET", b"HEAD"):
            self.answer(HTTPStatus.BAD_REQUEST, "only GET and HEAD")
        elif line[1] == b"/livez":
            self.answer(HTTPStatus.OK, "alive")
        elif line[1] == b"/readyz":
            self._probes.check(self)
        else:
            self.answer(HTTPStatus.NOT_FOUND, "try /livez or /readyz")

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > MAX_DISCARDED_BYTES:
            self.abort()
