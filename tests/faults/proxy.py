"""A TCP proxy that does to a connection what networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from micro.scope import Scope, open_scope
from tests.faults.clock import lasts

__all__ = ["Proxy", "run_proxy"]

Change = Callable[[bytes], bytes]


class Proxy:
    """Forwards connections to one server, and can be told to do worse.

    Args:
        host: The server's.
        port: The server's; may be changed, for connections to come.

    Attributes:
        delay: Seconds that each piece waits, each way.
        size: The most bytes that are forwarded at once; 0 for no bound.
        refusing: While set, new connections are closed as soon as they come.
        silent: While set, whatever arrives from either side is swallowed: a black hole.
        deaf: While set, only what the server says is swallowed: a half-open connection.
        change: Applied to what the server says.
        accepted: When each connection came, on the loop's clock.
    """

    def __init__(self, host: str, port: int, scope: Scope) -> None:
        self.host = host
        self.port = port
        self.delay = 0.0
        self.size = 0
        self.silent = False
        self.deaf = False
        self.refusing = False
        self.change: Change | None = None
        self.accepted: list[float] = []
        self._scope = scope
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    @property
    def bound(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return f"nats://127.0.0.1:{self.bound}"

    def cut(self) -> None:
        """Break every connection at once."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, host, port, backlog=4096)

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(asyncio.get_running_loop().time())
        self._open.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            if self.refusing:
                return
            source, other = await asyncio.open_connection(self.host, self.port)
            self._open.add(other)
            up = self._scope.start(self._pump(reader, other, from_server=False))
            await self._pump(source, writer, from_server=True)
            up.cancel()
        except OSError:
            return
        finally:
            for each in (writer, other):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if self.silent or (self.deaf and from_server):
                    continue
                if from_server and self.change is not None:
                    data = self.change(data)
                await self._forward(data, sink)
        except OSError:
            return
        finally:
            sink.transport.abort()

    async def _forward(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        if self.delay:
            await lasts(self.delay)
        size = self.size or len(data)
        for start in range(0, len(data), size):
            sink.write(data[start : start + size])
            await sink.drain()
            if self.size:
                # The reader gets a turn between any two pieces.
                await asyncio.sleep(0)


@asynccontextmanager
async def run_proxy(
    address: str, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Proxy]:
    """Run a proxy before a server until the block ends."""
    parts = urlsplit(address)
    async with open_scope() as scope:
        proxy = Proxy(parts.hostname or "", parts.port or 0, scope)
        await proxy.start(host, port)
        try:
            yield proxy
        finally:
            await proxy.close()
