"""What two dependencies, a lifespan and one for each call, add to a unary call.

    python -m benchmarks.probes.dependencies [--address nats://127.0.0.1:4222]

Both handlers are in one service and are called in turn, and processor time of client and server
together is measured, so that other programs of a busy machine count little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import AsyncIterator
from typing import Annotated

from benchmarks.peer import runner
from micro import Client, Depends, MemoryBackend, Service, load_settings

_ROUNDS = 40
_CALLS = 250

service = Service("points")


@service.lifespan
async def pool() -> AsyncIterator[list[int]]:
    """What lives as long as the service."""
    yield []


async def one(values: Annotated[list[int], Depends(pool)]) -> AsyncIterator[int]:
    """What is opened and closed for each call."""
    yield 1 + len(values)


@service.handler
async def without(value: int) -> int:
    """Answer without dependencies."""
    return value + 1


@service.handler
async def with_two(
    value: int, values: Annotated[list[int], Depends(pool)], more: Annotated[int, Depends(one)]
) -> int:
    """Answer with two dependencies."""
    return value + more + len(values)


async def _seconds(client: Client, endpoint: str) -> float:
    began = time.process_time()
    for number in range(_CALLS):
        await client.call("points", endpoint, number, int)
    return (time.process_time() - began) / _CALLS


async def _main(address: str) -> None:
    settings = load_settings(["--transport_address", address], {}) if address else None
    backend = None if address else MemoryBackend()
    async with service.running(backend, settings=settings) as client:
        await _seconds(client, "Points.Without")
        await _seconds(client, "Points.WithTwo")
        pairs = [
            (await _seconds(client, "Points.Without"), await _seconds(client, "Points.WithTwo"))
            for _ in range(_ROUNDS)
        ]
    plain, with_dependencies = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(after / before for before, after in pairs)
    report = {
        "without_us": round(plain * 1e6, 1),
        "with_two_us": round(with_dependencies * 1e6, 1),
        "more_percent": round((ratio - 1) * 100, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="", help="a NATS server; in memory if not given")
    runner()(_main(parser.parse_args().address))
