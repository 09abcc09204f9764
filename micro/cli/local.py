"""The local nats-server, found by the plugin's presence: the command knows no plugin at import."""

from __future__ import annotations

import importlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType

from micro.cli.output import say
from micro.errors import PluginError
from micro.settings.load import PARTS, Settings

__all__ = ["server_module", "with_server"]

_HOST, _PORT = "127.0.0.1", 4222
_PATIENCE = 0.5


def server_module() -> ModuleType:
    """The part of the NATS plugin that runs a server.

    Raises:
        PluginError: it is not installed.
    """
    try:
        return importlib.import_module("micro_nats.devserver")
    except ModuleNotFoundError as error:
        raise PluginError("a local nats-server needs the plugin 'nats' of micro-rpc") from error


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
        server = await stack.enter_async_context(
            server_module().run_server(port=_PORT, jetstream=True)
        )
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
