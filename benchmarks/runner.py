"""Runs the cases: peers take turns, A B A B, each round in a client process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.contenders import ROOT, Contender

__all__ = ["Figures", "Rounds", "run_cases", "run_line", "serving"]

_READY_SECONDS = 30
_CLIENT_SECONDS = 120
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Rounds:
    """What all rounds of one case measured of one peer, or why they failed."""

    values: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""

    def add(self, measured: dict[str, float]) -> None:
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.values[name]) if self.values.get(name) else 0.0

    def as_dict(self) -> dict[str, Any]:
        if self.failure:
            return {"failure": self.failure}
        figures = {}
        for name, values in self.values.items():
            middle = statistics.median(values)
            spread = (max(values) - min(values)) / middle if middle else 0.0
            figures[name] = {"median": middle, "spread": spread, "rounds": values}
        return figures


Figures = dict[str, dict[str, Rounds]]
"""Rounds by case and peer."""


async def run_cases(
    cases: Iterable[Case],
    contenders: dict[str, Contender],
    nats: str,
    *,
    rounds: int,
    seconds: float,
) -> Figures:
    """Run all rounds of all cases, with one server process for each peer throughout."""
    figures: Figures = {}
    async with AsyncExitStack() as stack:
        servers: dict[str, Server] = {}
        for name, contender in contenders.items():
            servers[name] = await stack.enter_async_context(serving(contender, nats))
        for case in cases:
            here = {name: servers[name] for name in case.peers if name in servers}
            figures[case.name] = await _rounds(case, here, nats, rounds=rounds, seconds=seconds)
    return figures


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of a peer."""

    contender: Contender
    address: str
    pid: int

    def cpu(self) -> float:
        """Seconds of the processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK


async def _rounds(
    case: Case, servers: dict[str, Server], nats: str, *, rounds: int, seconds: float
) -> dict[str, Rounds]:
    results = {name: Rounds() for name in servers}
    async with AsyncExitStack() as stack:
        for server in servers.values():
            for _ in range(case.servers - 1):
                await stack.enter_async_context(serving(server.contender, nats))
        for number in range(rounds):
            for name, server in servers.items():
                if results[name].failure:
                    continue
                print(f"\r\033[K{case.title}: {name}, {number + 1}", end="", file=sys.stderr)
                try:
                    results[name].add(await _round(case, server, seconds))
                except RuntimeError as error:
                    results[name].failure = str(error)
    print("\r\033[K", end="", file=sys.stderr)
    return results


async def _round(case: Case, server: Server, seconds: float) -> dict[str, float]:
    before = server.cpu()
    arguments = case.arguments(seconds)
    parts = await asyncio.gather(*(_client(server, arguments) for _ in range(case.clients)))
    used = server.cpu() - before
    calls = sum(part["total"] for part in parts)
    whole = {
        "rate": sum(part["rate"] for part in parts),
        **{name: statistics.mean(part[name] for part in parts) for name in ("p50", "p99")},
        "client_cpu": statistics.mean(part["client_cpu"] for part in parts),
    }
    if case.kind != "events" and case.servers == 1:
        whole["server_cpu"] = used / calls * 1e6
    return whole


async def _client(server: Server, arguments: list[str]) -> dict[str, float]:
    command = (*server.contender.command, "client", "--address", server.address, *arguments)
    measured: dict[str, float] = json.loads(await run_line(command))
    return measured


async def run_line(command: Sequence[str]) -> str:
    """Run a program to its end; gives the last line that it printed.

    Raises:
        RuntimeError: it failed, or took too long.
    """
    process = await _start(*command)
    try:
        async with asyncio.timeout(_CLIENT_SECONDS):
            out, errors = await process.communicate()
    except TimeoutError as error:
        raise RuntimeError(f"no end after {_CLIENT_SECONDS} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = out.splitlines()
    if process.returncode or not lines:
        raise RuntimeError(_reason(errors.decode()))
    return lines[-1].decode()


def _reason(errors: str) -> str:
    """What a traceback, or a group of them, says in the end."""
    lines = [line.strip(" |+-") for line in errors.splitlines()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or [line for line in lines if line] or ["it printed nothing"])[-1]


@asynccontextmanager
async def serving(contender: Contender, nats: str) -> AsyncIterator[Server]:
    """Run a peer's server for as long as the block lasts.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    process = await _start(*contender.command, "server", "--address", nats, quiet=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(_READY_SECONDS):
            line = (await process.stdout.readline()).decode().split()
        if line[:1] != ["ready"]:
            raise RuntimeError(f"the server of {contender.name} did not start")
        yield Server(contender, line[1], process.pid)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _start(*command: str, quiet: bool = False) -> asyncio.subprocess.Process:
    nowhere = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=nowhere if quiet else asyncio.subprocess.PIPE,
    )
