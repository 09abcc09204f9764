"""Runs the whole shop: a real NATS server, six processes, and a summary. It ends by itself.

python -m examples.shop
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from examples.shop.driver import BASKETS, CUSTOMERS
from micro import Client, MicroError, load_settings, open_client
from micro_nats import run_server

INSTANCES = (("points", 2), ("orders", 1), ("notifications", 2))
READY_WITHIN = 20.0
STOPPED_WITHIN = 10.0
ROOT = Path(__file__).parents[2]


class Shop:
    """The processes of the shop, and what they print.

    Args:
        address: The NATS server's.
        ledger: The file for the points.
        readers: Where the tasks run that read what they print.
    """

    def __init__(self, address: str, ledger: Path, readers: asyncio.TaskGroup) -> None:
        self._flags = ["--transport-address", address, "--log-level", "warning"]
        # Settings in the environment are for other services.
        others = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
        self._environment = {**others, "SHOP_LEDGER": str(ledger), "PYTHONUNBUFFERED": "1"}
        self._processes: dict[str, Process] = {}
        self._readers = readers
        self.lines: dict[str, list[str]] = {}

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

    async def stop(self) -> bool:
        """Send SIGTERM to all, and wait until they are gone; tells whether all ended well."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOPPED_WITHIN):
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
            print(f"{name:>15} | {lines[-1]}", flush=True)


async def wait_ready(client: Client) -> None:
    """Wait until the registry has every instance of every service.

    Raises:
        TimeoutError: an instance did not register in time.
    """
    async with asyncio.timeout(READY_WITHIN):
        for service, count in INSTANCES:
            async with client.registry.watch(service) as changes:
                async for records in changes:
                    if sum(len(record.nodes) for record in records) == count:
                        break
            say(f"{service} is in the registry, {count} instance{'s' * (count > 1)}")


async def run_shop() -> int:
    """Run the shop; gives the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        async with run_server() as server, asyncio.TaskGroup() as readers:
            say(f"nats-server listens at {server.address}")
            shop = Shop(server.address, Path(folder) / "points.sqlite", readers)
            try:
                code = await _play(shop, server.address)
            except (MicroError, TimeoutError) as failure:
                say(str(failure) or "the services were not ready in time")
                code = 1
            finally:
                say("stopping all with SIGTERM")
                stopped = await shop.stop()
    orders = len(CUSTOMERS) * len(BASKETS)
    heard = {name: len(lines) for name, lines in shop.lines.items() if "notifications" in name}
    complete = set(heard.values()) == {orders}
    for name, count in heard.items():
        say(f"{name} printed {count} of {orders} orders")
    good = code == 0 and stopped and complete
    say(f"{'all is well' if good else 'something went wrong'}, {time.monotonic() - began:.1f} s")
    return 0 if good else 1


async def _play(shop: Shop, address: str) -> int:
    for service, count in INSTANCES:
        for number in range(1, count + 1):
            process = await shop.start(service, f"{service}-{number}")
            say(f"started {service}-{number} as process {process.pid}")
    settings = load_settings(["--transport-address", address], {})
    async with open_client(settings, name="demo") as client:
        await wait_ready(client)
    say(f"{len(CUSTOMERS)} customers place {len(BASKETS)} orders each")
    driver = await shop.start("driver", "driver")
    return await driver.wait()


def say(text: str) -> None:
    """Print a line about what happens."""
    print(f"{'demo':>15} | {text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run_shop()))
    except MicroError as failure:
        sys.exit(f"demo: {failure.detail}")
    except KeyboardInterrupt:
        sys.exit(130)
