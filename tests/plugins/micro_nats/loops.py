"""Both event loops that programs run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop

__all__ = ["LOOPS"]


def new_uvloop() -> asyncio.AbstractEventLoop:
    """Make a uvloop that has opened the files that it keeps, which no test leaves behind."""
    loop = uvloop.new_event_loop()
    loop.run_until_complete(_connect_once())
    return loop


async def _connect_once() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        await writer.wait_closed()


LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": new_uvloop,
}
