from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from micro import Client
from tests.interop.gopeer import GoPeer, GoServer
from tests.interop.greeter import Req, Rsp

CALLS, CONCURRENCY, ROUNDS = 10_000, 64, 5


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.cell(
    "calls a second at concurrency 64, as fast as go-micro's client", "Python calls Go"
)
async def test_python_calls_go_as_fast_as_go_does(
    client: Client, go: GoPeer, go_server: GoServer
) -> None:
    async def work() -> None:
        for _ in range(CALLS // CONCURRENCY):
            await client.call(go_server.name, "Greeter.Hello", Req(name="x"), Rsp, timeout=30)

    ratios = []
    for _ in range(ROUNDS):
        (line,) = await go.run(
            *("call", "--service", go_server.name, "--json", '{"name":"x"}'),
            *("--count", str(CALLS), "--concurrency", str(CONCURRENCY)),
        )
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        took = time.perf_counter() - began
        ratios.append(line["seconds"] / took)

    print(f"\n{go.generation}: {statistics.median(ratios):.2f} times go-micro's own client")
    assert statistics.median(ratios) >= 1.0
