"""Runs the shop twice: with the points service in Go, and with the orders service in Go.

    python -m examples.shop_with_go

It needs a Go toolchain, and ends by itself. Nothing tells either side what the other is written in.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process
from pathlib import Path

from micro import MicroError, load_settings, open_client
from micro_nats import run_server

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "go"
BINARY = ROOT / ".cache" / "shop_with_go" / "shop"
READY_WITHIN = 20.0


def build() -> None:
    """Build the Go program; a second build takes a moment only.

    Raises:
        subprocess.CalledProcessError: it cannot be built.
    """
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false"}
    command = ["go", "build", "-o", str(BINARY), "."]
    subprocess.run(command, cwd=SOURCE, env=environment, check=True)


async def start(language: str, service: str, address: str, folder: str) -> Process:
    """Start a service written in one of the two languages."""
    if language == "Go":
        command = [str(BINARY), service, address]
    else:
        flags = ["--transport-address", address, "--log-level", "warning"]
        command = [sys.executable, "-m", f"examples.shop_with_go.{service}", *flags]
    environment = {**os.environ, "SHOP_LEDGER": f"{folder}/points.sqlite"}
    return await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )


async def wait_ready(address: str) -> None:
    """Wait until both services are in the registry.

    Raises:
        TimeoutError: a service did not register in time.
    """
    settings = load_settings(["--transport-address", address])
    async with open_client(settings, name="shop") as client, asyncio.timeout(READY_WITHIN):
        for service in ("points", "orders"):
            async with client.registry.watch(service) as changes:
                async for records in changes:
                    if any(record.nodes for record in records):
                        break


async def play(points: str, orders: str) -> int:
    """Run the shop with each service in the language given; the driver's exit code."""
    print(f"--- points in {points}, orders in {orders}", flush=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        async with run_server() as server:
            processes = [
                await start(points, "points", server.address, folder),
                await start(orders, "orders", server.address, folder),
            ]
            try:
                await wait_ready(server.address)
                driver = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "examples.shop_with_go.driver"),
                    *("--transport-address", server.address, "--log-level", "warning"),
                    cwd=ROOT,
                )
                return await driver.wait()
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    await process.wait()


async def main() -> int:
    """Run both arrangements; 0 if both succeeded."""
    codes = [await play("Go", "Python"), await play("Python", "Go")]
    return max(codes)


if __name__ == "__main__":
    if shutil.which("go") is None:
        sys.exit("shop_with_go: needs a Go toolchain")
    try:
        build()
        sys.exit(asyncio.run(main()))
    except (MicroError, TimeoutError, subprocess.CalledProcessError) as failure:
        sys.exit(f"shop_with_go: {failure or 'the services were not ready in time'}")
