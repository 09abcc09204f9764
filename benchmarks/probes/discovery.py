"""How long it takes to find who serves a name.

    python -m benchmarks.probes.discovery server --address ... --count 1000
    python -m benchmarks.probes.discovery look --address ...

`server` registers many nodes of one service and runs until its input ends; `look` prints one JSON
line, and needs that one and a server of `benchmarks.peers.ours`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack

from benchmarks.models import Answer, Question
from benchmarks.peer import runner
from micro import Client, Settings, load_settings, open_client
from micro.plugins import Backends
from micro.registry.record import Node, ServiceRecord

_HERD = "herd"
_COLD = 5
_WARM = 200


async def _herd(settings: Settings, count: int) -> None:
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(Backends(name=_HERD, settings=settings))
        registry = await backends.registry()
        for number in range(count):
            node = Node(id=f"{_HERD}-{number}", address=f"herd.{number}")
            record = ServiceRecord(name=_HERD, version="1.0.0", nodes=(node,))
            await stack.enter_async_context(registry.register(record, ttl=90, interval=60))
        print("ready", _HERD, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _look(settings: Settings) -> None:
    cold = [await _first_call(settings) for _ in range(_COLD)]
    async with open_client(settings) as client:
        first = await _timed(client.registry.get_service("bench"))
        began = time.perf_counter()
        records = await client.registry.get_service(_HERD)
        took = time.perf_counter() - began
        await _ask(client)
        warm = [await _timed(_ask(client)) for _ in range(_WARM)]
    line = {
        "discovery_cold_ms": statistics.median(cold) * 1e3,
        "discovery_warm_us": statistics.median(warm) * 1e6,
        "discovery_query_ms": first * 1e3,
        "discovery_herd_ms": took * 1e3,
        "discovery_herd_found": sum(len(record.nodes) for record in records),
    }
    print(json.dumps(line), flush=True)


async def _first_call(settings: Settings) -> float:
    async with open_client(settings) as client:
        await client.flush()
        return await _timed(_ask(client))


async def _ask(client: Client) -> None:
    await client.call("bench", "Bench.Ask", Question(name="ann", number=5), Answer)


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "look"])
    parser.add_argument("--address", required=True)
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    settings = load_settings(["--transport_address", args.address], {})
    runner()(_herd(settings, args.count) if args.role == "server" else _look(settings))


if __name__ == "__main__":
    main()
