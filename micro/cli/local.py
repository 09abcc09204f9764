"""The local nats-server, which a plugin offers in an entry point: the command knows no plugin."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import entry_points
from typing import Any

from micro.cli.output import say
from micro.errors import PluginError
from micro.settings.load import PARTS, Settings

__all__ = ["dev_server", "with_server"]

_GROUP = "micro.dev_servers"
_HOST, _PORT = "127.0.0.1", 4222
_PATIENCE = 0.5


def dev_server() -> Callable[..., AbstractAsyncContextManager[Any]]:
    """What runs a nats-server: the entry point `nats` of the group `micro.dev_servers`.

    Raises:
        PluginError: no package offers one.
    """
    for entry in entry_points(group=_GROUP, name="nats"):
        run: Callable[..., AbstractAsyncContextManager[Any]] = entry.load()
        return run
    raise PluginError("a local nats-server needs the plugin 'nats' of micro-rpc")


@asynccontextmanager
async def with_server(settings: Settings) -> AsyncIterator[None]:
    """Run a nats-server while the block lasts, if these settings need one and none is there.

    Raises:
        PluginError: one is needed, and cannot be started.
    """
    async with AsyncExitStack() as stack:
        if _needs_server(settings) and not _listens():
            address = await _start(stack)
            say(
                "no address is given and nothing listens:"
                f" started a nats-server at {address}, which ends with this process"
            )
        yield


async def _start(stack: AsyncExitStack) -> str:
    try:
        server = await stack.enter_async_context(dev_server()(port=_PORT, jetstream=True))
    except PluginError as error:
        raise PluginError(
            f"no address is given and nothing listens on {_HOST}:{_PORT}: {error.detail};"
            " or name a server with --transport-address, or use --transport=memory"
        ) from error
    return str(server.address)


def _needs_server(settings: Settings) -> bool:
    return any(settings.plugin(part) == "nats" and not settings.addresses(part) for part in PARTS)


def _listens() -> bool:
    """Whether something accepts connections at NATS's own port; asked once, before all else."""
    try:
        with socket.create_connection((_HOST, _PORT), timeout=_PATIENCE):
            return True
    except OSError:
        return False
