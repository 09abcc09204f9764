"""Runs the probes: what is measured of this framework alone, with nothing to compare it to."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.runner import Rounds, run_line, serving

__all__ = ["PROBES", "Probe", "run_probes"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One figure of this framework alone."""

    name: str
    title: str
    unit: str


PROBES = (
    Probe("import_ms", "import of `micro`", "ms"),
    Probe("import_plugins", "plugins' packages that the import brings", ""),
    Probe("start_ms", "start of a service, from the interpreter's start to registered", "ms"),
    Probe("discovery_cold_ms", "first call to a cold service", "ms"),
    Probe("discovery_warm_us", "call to a service that is known, one at a time", "µs"),
    Probe("discovery_query_ms", "one registry query, one node", "ms"),
    Probe("discovery_herd_ms", "one registry query, answered by 1,000 nodes", "ms"),
    Probe("discovery_herd_found", "nodes found by that query", ""),
    Probe("socket_client_bytes", "an open, idle socket, the client's side (of 10,000)", "B"),
    Probe("socket_server_bytes", "an open, idle socket, the server's side (of 10,000)", "B"),
)
_IMPORTS = 5


async def run_probes(micro: Contender, nats: str, *, rounds: int) -> Rounds:
    """Run every probe so many times, each in processes of its own."""
    results = Rounds()
    herd = Contender("herd", _program("discovery"))
    for number in range(rounds):
        print(f"\r\033[Kprobes, {number + 1}", end="", file=sys.stderr)
        for _ in range(_IMPORTS):
            results.add(await _probe("imports"))
        began = time.perf_counter()
        async with serving(micro, nats) as server:
            results.add({"start_ms": (time.perf_counter() - began) * 1e3})
            results.add(await _sockets(nats, server.pid))
        async with serving(micro, nats), serving(herd, nats):
            results.add(await _probe("discovery", "look", "--address", nats))
    print("\r\033[K", end="", file=sys.stderr)
    return results


async def _sockets(nats: str, server: int) -> dict[str, float]:
    return await _probe("sockets", "--address", nats, "--server", str(server))


async def _probe(name: str, *arguments: str) -> dict[str, float]:
    measured: dict[str, float] = json.loads(await run_line((*_program(name), *arguments)))
    return measured


def _program(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.probes.{name}")
