"""Servers, and the service's instances on them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

from micro_nats.devserver import NatsServer
from tests.faults.process import Journal, Program, run_program

__all__ = ["Fleet", "connections", "free_ports", "routes", "run_cluster", "run_fleet"]


class Fleet:
    """Instances of the service on one network.

    Args:
        addresses: Where its servers are.
        journal: Where its instances write.
        stack: Ends them.
    """

    def __init__(self, addresses: Sequence[str], journal: Journal, stack: AsyncExitStack) -> None:
        self.addresses = tuple(addresses)
        self.journal = journal
        self.programs: dict[str, Program] = {}
        self._stack = stack
        self._count = 0

    async def start(self, *flags: str, **environ: str) -> str:
        """Start one more instance; its name, once it serves."""
        self._count += 1
        name = f"n{self._count}"
        program = await self._stack.enter_async_context(
            run_program(
                "points",
                "--transport-address",
                ",".join(self.addresses),
                *flags,
                environ={
                    "POINTS_NODE": name,
                    "POINTS_JOURNAL": str(self.journal.path),
                    **environ,
                },
            )
        )
        self.programs[name] = program
        await program.says("ready: points")
        return name

    def __getitem__(self, name: str) -> Program:
        return self.programs[name]


@asynccontextmanager
async def run_fleet(
    addresses: Sequence[str], folder: Path, size: int = 3, *flags: str, **environ: str
) -> AsyncIterator[Fleet]:
    """Run so many instances until the block ends."""
    async with AsyncExitStack() as stack:
        fleet = Fleet(addresses, Journal(folder / "journal"), stack)
        for _ in range(size):
            await fleet.start(*flags, **environ)
        yield fleet


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@asynccontextmanager
async def run_cluster(
    size: int = 3,
    *,
    ports: Sequence[int] = (),
    routes: dict[tuple[int, int], int] | None = None,
    arguments: Sequence[str] = (),
) -> AsyncIterator[list[NatsServer]]:
    """Run servers that know each other.

    Args:
        size: How many.
        ports: Where they find each other; free ones when not given.
        routes: Ports through which one server, by number, reaches another, where it is not the
            other's own.
        arguments: More of nats-server's own.
    """
    ports = ports or free_ports(size)
    servers = []
    for number, port in enumerate(ports):
        others = [
            f"nats://127.0.0.1:{(routes or {}).get((number, other), ports[other])}"
            for other in range(number)
        ]
        cluster = ["--cluster_name", "test", "--cluster", f"nats://127.0.0.1:{port}"]
        routing = ["--routes", ",".join(others)] if others else []
        if routes:
            # Servers tell each other where the others are, and would find a way around `routes`.
            routing += ["--cluster_advertise", "127.0.0.1:1"]
        servers.append(NatsServer(monitoring=True, arguments=[*cluster, *routing, *arguments]))
    try:
        for server in servers:
            server.start()
        for server in servers:
            await server.wait()
        yield servers
    finally:
        for server in servers:
            await asyncio.to_thread(server.stop)


async def connections(server: NatsServer) -> list[dict[str, object]]:
    """What the server's monitoring says of its connections."""
    return await _monitor(server, "connz?subs=true", "connections")


async def routes(server: NatsServer) -> list[dict[str, object]]:
    """What the server's monitoring says of its routes to others of its cluster."""
    return await _monitor(server, "routez", "routes")


async def _monitor(server: NatsServer, path: str, key: str) -> list[dict[str, object]]:
    def read() -> list[dict[str, object]]:
        with urlopen(f"{server.monitor}/{path}") as answer:
            found: list[dict[str, object]] = json.load(answer)[key]
            return found

    return await asyncio.to_thread(read)
