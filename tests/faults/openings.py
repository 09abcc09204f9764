"""What many fault tests begin with: the service or a scripted peer, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from micro import Client
from micro.scope import Scope, open_scope
from micro_nats.devserver import NatsServer
from tests.faults.load import client_of
from tests.faults.network import Fleet, run_fleet
from tests.faults.programs.bare import Peer, run_peer

__all__ = ["peer_and_client", "points_and_client"]


@asynccontextmanager
async def points_and_client(
    server: NatsServer, folder: Path, size: int = 3, *flags: str, **settings: object
) -> AsyncIterator[tuple[Fleet, Client]]:
    """Run instances of `points` with these flags, and a client with these settings."""
    async with (
        run_fleet([server.address], folder, size, *flags) as fleet,
        client_of(server.address, **settings) as client,
    ):
        yield fleet, client


@asynccontextmanager
async def peer_and_client(
    server: NatsServer, record: Mapping[str, object]
) -> AsyncIterator[tuple[Peer, Client, Scope]]:
    """Run a scripted peer, registered as this record, a client, and a scope for calls."""
    async with (
        run_peer(server.address, record) as peer,
        client_of(server.address) as client,
        open_scope() as scope,
    ):
        yield peer, client, scope
