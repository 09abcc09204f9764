"""Compare the processor time of two checkouts, and that of dependencies with that of plain calls.

    python -m benchmarks.cost                             this checkout alone
    python -m benchmarks.cost --against ../older          beside another one, with its own .venv

The rounds of both alternate, and the smallest of each counts: what else runs on the machine only
adds to it.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.contenders import ROOT
from micro_nats import run_server

__all__ = ["main"]

_PROBE = ROOT / "benchmarks" / "probes" / "cost.py"
_CASES = ("unary-1", "unary-64", "dependencies", "stream", "event")
_TIMES = {"stream": 4_000, "event": 1_600}
_CALLS = 1_280
_STARTS = 4
"""How often the processes are started anew: where things lie in memory makes 5 % of difference."""

Probe = subprocess.Popen[str]
Costs = dict[tuple[str, str], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="another checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=40, help="how often each case is measured")
    parser.add_argument("--over", choices=("memory", "nats"), action="append")
    parser.add_argument("--case", choices=_CASES, action="append")
    args = parser.parse_args()
    trees = {"here": ROOT} | ({"there": args.against.resolve()} if args.against else {})
    asyncio.run(_compare(trees, args.over or ["memory", "nats"], args.case or _CASES, args.rounds))


async def _compare(
    trees: dict[str, Path], kinds: list[str], cases: tuple[str, ...], rounds: int
) -> None:
    async with AsyncExitStack() as stack:
        # A server for each, for both serve under the same name.
        servers = {name: await stack.enter_async_context(run_server()) for name in trees}
        for kind in kinds:
            costs: Costs = {}
            for _ in range(_STARTS):
                probes = {name: _start(trees[name], kind, servers[name].address) for name in trees}
                await asyncio.to_thread(_measure, probes, cases, rounds // _STARTS, costs)
            print(_table(kind, cases, costs))


def _measure(probes: dict[str, Probe], cases: tuple[str, ...], rounds: int, costs: Costs) -> None:
    for number in range(rounds):
        for case in cases:
            # Each is the first one in every second round.
            for name in sorted(probes, reverse=bool(number % 2)):
                cost = _ask(probes[name], case)
                if cost is not None:
                    costs.setdefault((case, name), []).append(cost)
    for probe in probes.values():
        probe.communicate(timeout=30)


def _start(tree: Path, kind: str, address: str) -> Probe:
    python = sys.executable if tree == ROOT else str(tree / ".venv" / "bin" / "python")
    command = (python, str(_PROBE), kind, address)
    return subprocess.Popen(
        command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ask(probe: Probe, case: str) -> float | None:
    if probe.stdin is None or probe.stdout is None:
        raise RuntimeError("the probe has no pipes")
    print(case, _TIMES.get(case, _CALLS), file=probe.stdin, flush=True)
    answer = probe.stdout.readline().strip()
    if not answer:
        raise RuntimeError(f"the probe ended during {case}")
    return None if answer == "absent" else float(answer)


def _table(kind: str, cases: tuple[str, ...], costs: Costs) -> str:
    lines = [f"over {kind}: microseconds of processor time, the least of its rounds"]
    for case in cases:
        best = {name: min(found) for (one, name), found in costs.items() if one == case}
        text = "  ".join(f"{name} {cost:7.1f}" for name, cost in sorted(best.items()))
        if "there" in best:
            text += f"  {best['here'] / best['there'] - 1:+.1%}"
        elif case == "dependencies" and ("unary-64", "here") in costs:
            plain = min(costs["unary-64", "here"])
            text += f"  {best['here'] / plain - 1:+.1%} of a call without them"
        lines.append(f"  {case:13} {text}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
