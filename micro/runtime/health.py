"""Liveness and readiness over HTTP, for whoever supervises the process.

`/livez` answers 200 as long as the event loop turns. `/readyz` answers 200 when the service is
registered, takes calls, and a round trip to every server in use has just succeeded; 503 with the
reason otherwise. Off unless `health_address` is set; only GET and HEAD, one request a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from micro.errors import ConfigError, MicroError
from micro.scope import Scope, open_scope

__all__ = ["Check", "serve_health"]

Check = Callable[[], Awaitable[None]]
"""Returns when the service is ready; raises a MicroError that says why it is not."""

_MOST_BYTES = 8192
_SECONDS = 5.0


@asynccontextmanager
async def serve_health(address: str, ready: Check) -> AsyncIterator[str]:
    """Answer health checks inside a block.

    Args:
        address: `host:port`, or `:port` for every interface; port 0 takes a free one.
        ready: Asked for each `/readyz`; it has 5 s.

    Yields:
        The address that was bound, as `host:port`.

    Raises:
        ConfigError: the address cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConfigError(f"health_address {address!r}: not host:port")
    loop = asyncio.get_running_loop()
    async with open_scope() as scope:
        try:
            server = await loop.create_server(
                lambda: _Exchange(scope, ready), host.strip("[]") or None, int(port)
            )
        except (OSError, OverflowError) as error:
            raise ConfigError(f"health_address {address!r}: {error}") from error
        try:
            bound = server.sockets[0].getsockname()
            yield f"{bound[0]}:{bound[1]}"
        finally:
            server.close()
            await server.wait_closed()


class _Exchange(asyncio.Protocol):
    """One connection: one request and its response."""

    def __init__(self, scope: Scope, ready: Check) -> None:
        self._scope = scope
        self._ready = ready
        self._request = b""
        self._answered = False
        self._transport: asyncio.Transport | None = None
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._give_up)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection for the response."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Whoever asked is gone."""
        self._timer.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Collect the request's head, and answer it."""
        self._request += data
        if self._answered:
            return
        if b"\r\n\r\n" in self._request or len(self._request) > _MOST_BYTES:
            self._answered = True
            self._route(self._request.split(b"\r\n", 1)[0].split(b" "))

    def _route(self, line: list[bytes]) -> None:
        if len(line) != 3 or line[0] not in (b"GET", b"HEAD"):
            self._answer(400, "only GET and HEAD")
        elif line[1] == b"/livez":
            self._answer(200, "alive")
        elif line[1] == b"/readyz":
            self._scope.start(self._answer_ready())
        else:
            self._answer(404, "there are /livez and /readyz")

    async def _answer_ready(self) -> None:
        try:
            await self._ready()
        except MicroError as error:
            self._answer(503, str(error))
        else:
            self._answer(200, "ready")

    def _give_up(self) -> None:
        self._answer(503, "no answer within 5 s")

    def _answer(self, status: int, text: str) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        reason = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}
        body = f"{text}\n".encode()
        head = (
            f"HTTP/1.1 {status} {reason[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + (b"" if self._request[:4] == b"HEAD" else body))
        self._transport.close()
