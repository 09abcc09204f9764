"""Real NATS servers for fixtures that are plain functions."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus
from urllib.error import URLError
from urllib.request import urlopen

from micro.errors import PluginError
from micro_nats import NatsServer

__all__ = ["start_servers"]

_HEALTHY_SECONDS = 20.0
_POLL_SECONDS = 0.02


def start_servers(size: int, stack: ExitStack) -> tuple[NatsServer, ...]:
    """Start servers; several are one cluster. JetStream can be used when it returns.

    Args:
        size: How many.
        stack: Stops them.

    Raises:
        PluginError: one did not start, or the cluster did not become ready.
    """
    servers = tuple(
        NatsServer(jetstream=True, monitoring=True, arguments=arguments)
        for arguments in _arguments(size)
    )
    for server in servers:
        stack.callback(server.stop)
        server.start()
    for server in servers:
        _wait_until_started(server)
        _wait_until_healthy(server)
    return servers


def _arguments(size: int) -> list[list[str]]:
    """Where each server of a cluster finds the others; nothing for a single one."""
    if size == 1:
        return [[]]
    addresses = [f"nats://127.0.0.1:{port}" for port in _free_ports(size)]
    common = ["--cluster_name", "micro", "--routes", ",".join(addresses)]
    return [
        ["--server_name", f"n{number}", "--cluster", address, *common]
        for number, address in enumerate(addresses)
    ]


def _wait_until_started(server: NatsServer) -> None:
    # In a thread, because a test's event loop may exist in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, server.wait()).result()


def _wait_until_healthy(server: NatsServer) -> None:
    """Wait until the server's JetStream has a leader and is up to date."""
    end = time.monotonic() + _HEALTHY_SECONDS
    while not _is_healthy(server):
        if time.monotonic() > end:
            raise PluginError(f"JetStream was not ready within {_HEALTHY_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)


def _is_healthy(server: NatsServer) -> bool:
    try:
        with urlopen(f"{server.monitor}/healthz", timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
