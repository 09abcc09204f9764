"""The processes of the shop: starting, killing and stopping them, and what they print."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

from micro import Client

INSTANCES = (("points", 2), ("orders", 1), ("notifications", 2))
READY_WITHIN_SECONDS = 40.0
STOPPED_WITHIN_SECONDS = 10.0
POLL_SECONDS = 0.02
ROOT = Path(__file__).parents[2]


class Shop:
    """The processes of the shop, and what they print.

    Args:
        address: The NATS server's.
        folder: Where the SQLite files are.
        readers: Where the tasks run that read what the processes print.
        quiet: Whether to keep what they print from the terminal.
    """

    def __init__(
        self, address: str, folder: Path, readers: asyncio.TaskGroup, *, quiet: bool = False
    ) -> None:
        self._flags = ["--transport-address", address]
        self._flags += ["--log-level", "error" if quiet else "warning"]
        # Settings in the environment are for other services.
        others = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
        files = {"SHOP_ORDERS": folder / "orders.sqlite", "SHOP_LEDGER": folder / "points.sqlite"}
        paths = {name: str(path) for name, path in files.items()}
        self._environment = {**others, **paths, "PYTHONUNBUFFERED": "1"}
        self._processes: dict[str, Process] = {}
        self._readers = readers
        self._quiet = quiet
        self.lines: dict[str, list[str]] = {}

    async def start_all(self) -> None:
        """Start every instance of every service."""
        for service, count in INSTANCES:
            for number in range(1, count + 1):
                name = f"{service}-{number}"
                process = await self.start(service, name)
                say(f"started {name} as process {process.pid}")

    async def start(self, service: str, name: str) -> Process:
        """Start a process of one service, and show what it prints behind its name."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"examples.shop.{service}", *self._flags),
            cwd=ROOT,
            env=self._environment,
            stdout=PIPE,
        )
        self._processes[name] = process
        self._readers.create_task(self._show(name, process))
        return process

    async def kill(self, name: str) -> None:
        """Kill a process, so that it can finish nothing (SIGKILL)."""
        process = self._processes.pop(name)
        process.kill()
        await process.wait()

    async def stop(self) -> bool:
        """Send SIGTERM to all, and wait until they are gone; tells whether all ended well."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOPPED_WITHIN_SECONDS):
                await asyncio.gather(*(each.wait() for each in self._processes.values()))
        except TimeoutError:
            for process in self._processes.values():
                if process.returncode is None:
                    process.kill()
        codes = {name: process.returncode for name, process in self._processes.items()}
        for name, code in codes.items():
            if code:
                say(f"{name} ended with code {code}")
        return not any(codes.values())

    async def _show(self, name: str, process: Process) -> None:
        assert process.stdout is not None, "it is a pipe"
        lines = self.lines.setdefault(name, [])
        async for line in process.stdout:
            lines.append(line.decode().rstrip())
            if not self._quiet:
                print(f"{name:>15} | {lines[-1]}", flush=True)


async def wait_ready(client: Client) -> None:
    """Wait until the registry has every instance of every service.

    Raises:
        TimeoutError: an instance did not register in time.
    """
    async with asyncio.timeout(READY_WITHIN_SECONDS):
        for service, count in INSTANCES:
            async with client.registry.watch(service) as changes:
                async for records in changes:
                    if sum(len(record.nodes) for record in records) == count:
                        break
            say(f"{service} is in the registry, {count} instance{'s' * (count > 1)}")


async def until(done: Callable[[], bool], within: float) -> None:
    """Look again and again whether something is done, for so many seconds at most."""
    end = time.monotonic() + within
    while not done():
        if time.monotonic() > end:
            return
        await asyncio.sleep(POLL_SECONDS)


def say(text: str) -> None:
    """Print a line about what happens."""
    print(f"{'demo':>15} | {text}", flush=True)
