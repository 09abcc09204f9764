"""A client without a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from micro.client.client import Client
from micro.codec import Codec, Codecs, default_codecs
from micro.plugins import Backends
from micro.runtime.configuration import client_options
from micro.settings.load import Settings

__all__ = ["open_client"]


@asynccontextmanager
async def open_client(
    settings: Settings, *, codecs: Iterable[Codec] = (), name: str = "micro-client"
) -> AsyncIterator[Client]:
    """A client without a service, for scripts and tools.

    Args:
        settings: Which plugins to use and how.
        codecs: Codecs beside the usual ones.
        name: The name of its connections on their servers.
    """
    async with (
        Backends(name=name, settings=settings) as backends,
        Client(
            await backends.transport(),
            await backends.broker(),
            await backends.registry(),
            Codecs([*default_codecs(), *codecs]),
            client_options(settings),
        ) as client,
    ):
        yield client
