"""What no load can tell: discovery, memory of sockets, imports, starting.

python -m benchmarks.probes discovery|sockets|herd|nodes --address nats://... [--pid SERVER]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.contenders import ROOT, Contender
from benchmarks.models import Answer, Question
from benchmarks.peer import runner
from benchmarks.runner import serving

__all__ = ["probe"]

_SOCKETS = 10_000
_NODES = 1_000
_BATCH = 250
_QUESTION = Question(name="ann", number=5)
_IMPORT = """
import json, sys, time
began = time.perf_counter()
import micro
took = time.perf_counter() - began
tops = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(json.dumps({"ms": took * 1e3, "tops": sorted(tops), "modules": len(sys.modules)}))
"""
_PLUGINS = ("nats", "micro_nats", "uvloop", "nkeys", "aiohttp", "google")


async def probe(contender: Contender, nats: str, rounds: int) -> dict[str, Any]:
    """All figures; a failure of one is told and leaves it out."""
    figures = _import(max(rounds, 3))
    figures["start_ms"] = await _start(contender, nats, rounds)
    async with serving(contender, nats) as server:
        for name in ("discovery", "sockets", "nodes"):
            print(f"\r\033[K{name}", end="", file=sys.stderr)
            figures |= await _program(name, nats, server.pid)
    print("\r\033[K", end="", file=sys.stderr)
    return figures


def _import(rounds: int) -> dict[str, Any]:
    seen = [
        json.loads(subprocess.check_output([sys.executable, "-c", _IMPORT], cwd=ROOT))
        for _ in range(rounds + 1)
    ][1:]  # The first may have had to read files from the disk.
    tops = [name for name in seen[0]["tops"] if not name.startswith("_")]
    return {
        "import_ms": statistics.median(each["ms"] for each in seen),
        "import_modules": seen[0]["modules"],
        "import_packages": tops,
        "import_plugins": len([name for name in tops if name in _PLUGINS]),
    }


async def _start(contender: Contender, nats: str, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        async with serving(contender, nats):
            times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


async def _program(name: str, nats: str, pid: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.probes", name, "--address", nats, "--pid", str(pid)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    if process.returncode:
        reason = (errors.decode().strip().splitlines() or ["it printed nothing"])[-1]
        print(f"\r\033[K{name} failed: {reason}", file=sys.stderr)
        return {}
    figures: dict[str, Any] = json.loads(out)
    return figures


# The programs; what they need of micro is imported there, for they are the ones that measure it.


async def _discovery(address: str, pid: int) -> dict[str, Any]:
    from benchmarks.peers.ours import SERVICE
    from micro import load_settings, open_client

    cold, warm = [], []
    for _ in range(5):
        async with open_client(load_settings(["--transport_address", address], {})) as client:
            for times in (cold, warm):
                began = time.perf_counter()
                await client.call(SERVICE, "Bench.Ask", _QUESTION, Answer)
                times.append((time.perf_counter() - began) * 1e3)
    return {"cold_ms": statistics.median(cold), "warm_ms": statistics.median(warm)}


async def _sockets(address: str, pid: int) -> dict[str, Any]:
    """Many sockets to one server, each with its connection here and its session there."""
    from benchmarks.peers.ours import SERVICE
    from micro import load_settings, open_client

    async with open_client(load_settings(["--transport_address", address], {})) as client:
        await client.call(SERVICE, "Bench.Ask", _QUESTION, Answer)
        (record, *_) = await client.registry.get_service(SERVICE)
        directory: Any = client._directory
        keep = [await _open(directory, record.nodes[0], 100)]
        await client.call(SERVICE, "Bench.Ask", _QUESTION, Answer)
        gc.collect()
        here, there = _memory("self"), _memory(str(pid))
        for _ in range(_SOCKETS // _BATCH):
            keep.append(await _open(directory, record.nodes[0], _BATCH))
            await client.call(SERVICE, "Bench.Ask", _QUESTION, Answer)
        gc.collect()
        return {
            "socket_client_bytes": (_memory("self") - here) / _SOCKETS,
            "socket_server_bytes": (_memory(str(pid)) - there) / _SOCKETS,
        }


async def _open(directory: Any, node: Any, count: int) -> list[Any]:
    opened = [await directory._dial(node, _ignore) for _ in range(count)]
    for connection in opened:
        connection.ping()  # The other end exists from the first message on.
    return opened


def _ignore(connection: object) -> None:
    pass


def _memory(process: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's memory")


async def _herd(address: str, pid: int) -> None:
    """Register many nodes of one service, until the input ends."""
    from micro import load_settings
    from micro.plugins import Backends
    from micro.registry import Node, ServiceRecord

    settings = load_settings(["--transport_address", address], {})
    async with Backends(name="herd", settings=settings) as backends, AsyncExitStack() as stack:
        registry = await backends.registry()
        for number in range(_NODES):
            node = Node(id=f"herd-{number}", address=f"herd.{number}", metadata={})
            record = ServiceRecord(name="herd", version="1", nodes=(node,))
            await stack.enter_async_context(registry.register(record, ttl=600, interval=300))
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _nodes(address: str, pid: int) -> dict[str, Any]:
    """How long one query takes that a thousand nodes answer."""
    from micro import load_settings
    from micro.plugins import Backends

    settings = load_settings(["--transport_address", address], {})
    herd = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.probes", "herd", "--address", address),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert herd.stdout is not None
    assert herd.stdin is not None
    try:
        await herd.stdout.readline()
        async with Backends(name="asker", settings=settings) as backends:
            registry = await backends.registry()
            times, found = [], 0
            for _ in range(3):
                began = time.perf_counter()
                records = await registry.get_service("herd")
                times.append((time.perf_counter() - began) * 1e3)
                found = sum(len(record.nodes) for record in records)
    finally:
        herd.stdin.close()
        await herd.wait()
    return {"nodes_ms": statistics.median(times), "nodes_found": found}


def main() -> None:
    programs = {"discovery": _discovery, "sockets": _sockets, "herd": _herd, "nodes": _nodes}
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=programs)
    parser.add_argument("--address", required=True)
    parser.add_argument("--pid", type=int, default=0)
    args = parser.parse_args()

    async def run() -> None:
        figures = await programs[args.program](args.address, args.pid)
        print(json.dumps(figures), flush=True)

    runner()(run())


if __name__ == "__main__":
    main()
