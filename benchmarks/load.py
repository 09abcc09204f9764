"""Closed-loop load: workers that call again as soon as they are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

__all__ = ["Result", "burst", "quantile", "unary_load"]

Call = Callable[[], Awaitable[object]]
# A connection and its processes take about a second to come to their pace.
_WARM_UP = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one round measured.

    Attributes:
        rate: Calls, events or items a second.
        p50: Median latency in microseconds; 0 where latency means nothing.
        p99: The 99th percentile of it.
        client_cpu: Microseconds of the client's processor a call.
        total: Calls of the whole process, those of the warm-up too: what the server worked for.
    """

    rate: float
    p50: float = 0.0
    p99: float = 0.0
    client_cpu: float = 0.0
    total: int = 0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def unary_load(call: Call, concurrency: int, seconds: float) -> Result:
    """Run `concurrency` workers for a warm-up and then for `seconds`."""
    warm = await _run(call, concurrency, _WARM_UP)
    cpu = time.process_time()
    began = time.perf_counter()
    latencies = await _run(call, concurrency, seconds)
    took = time.perf_counter() - began
    cpu = time.process_time() - cpu
    latencies.sort()
    return Result(
        rate=len(latencies) / took,
        p50=quantile(latencies, 0.5) * 1e6,
        p99=quantile(latencies, 0.99) * 1e6,
        client_cpu=cpu / len(latencies) * 1e6,
        total=len(warm) + len(latencies),
    )


async def _run(call: Call, concurrency: int, seconds: float) -> list[float]:
    clock = time.perf_counter
    end = clock() + seconds
    latencies: list[float] = []
    note = latencies.append

    async def work() -> None:
        began = clock()
        while began < end:
            await call()
            now = clock()
            note(now - began)
            began = now

    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(work())
    return latencies


async def burst(count: int, work: Call, *, warm: int = 0) -> Result:
    """Time one piece of work that handles `count` items; `warm` were handled before."""
    cpu = time.process_time()
    began = time.perf_counter()
    await work()
    took = time.perf_counter() - began
    cpu = time.process_time() - cpu
    return Result(rate=count / took, client_cpu=cpu / count * 1e6, total=count + warm)
