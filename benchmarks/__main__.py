"""Measure `micro` beside other libraries.

    python -m benchmarks                        everything, and write the results
    python -m benchmarks --quick                a minute: micro and nats-py, a few cases
    python -m benchmarks --case unary --peer micro --peer FastStream

Only a run of everything writes `benchmarks/results/latest.json` and `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from benchmarks.alone import run_probes
from benchmarks.cases import CASES, OURS, PEERS, QUICK_CASES, QUICK_PEERS, Case
from benchmarks.contenders import ROOT, Absent, Contender, find
from benchmarks.machine import describe
from benchmarks.report import Run
from benchmarks.runner import Rounds, run_cases
from micro_nats import run_server

_PROBES = "alone"
_PROBE_ROUNDS = 3


def _arguments() -> argparse.Namespace:
    names = ", ".join(case.name for case in CASES)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"cases: {names}, {_PROBES}\npeers: {', '.join(PEERS)}",
    )
    parser.add_argument("--quick", action="store_true", help="a few cases, without other libraries")
    parser.add_argument(
        "--case", action="append", help="a case, or the beginning of some; may be repeated"
    )
    parser.add_argument("--peer", action="append", choices=PEERS, help="may be repeated")
    parser.add_argument("--rounds", type=int, help="how often each case is measured")
    parser.add_argument("--seconds", type=float, help="how long a round of calls lasts")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    run = asyncio.run(_run(args))
    print(run.text())
    if not (args.quick or args.case or args.peer):
        for path in run.write():
            print(f"written: {path.relative_to(ROOT)}")


async def _run(args: argparse.Namespace) -> Run:
    cases = _cases(args)
    contenders, absent = _contenders(args)
    machine = describe()
    rounds = args.rounds or (3 if args.quick else 5)
    seconds = args.seconds or (0.5 if args.quick else 1.0)
    async with run_server() as nats:
        figures = await run_cases(cases, contenders, nats.address, rounds=rounds, seconds=seconds)
        probes = Rounds()
        if OURS in contenders and _wants_probes(args):
            few = 1 if args.quick else min(rounds, _PROBE_ROUNDS)
            probes = await run_probes(contenders[OURS], nats.address, rounds=few)
    return Run(
        machine=machine,
        rounds=rounds,
        seconds=seconds,
        contenders=contenders,
        absent=absent,
        figures=figures,
        probes=probes,
    )


def _cases(args: argparse.Namespace) -> list[Case]:
    if args.case:
        wanted = tuple(args.case)
        cases = [case for case in CASES if case.name.startswith(wanted)]
        if not cases and not _wants_probes(args):
            raise SystemExit(f"no case begins with {' or '.join(wanted)}")
        return cases
    return [case for case in CASES if not args.quick or case.name in QUICK_CASES]


def _wants_probes(args: argparse.Namespace) -> bool:
    return not args.case or _PROBES in args.case


def _contenders(args: argparse.Namespace) -> tuple[dict[str, Contender], dict[str, str]]:
    names = args.peer or (QUICK_PEERS if args.quick else PEERS)
    found: dict[str, Contender] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            found[name] = find(name)
        except Absent as error:
            absent[name] = str(error)
            print(f"{name} is absent: {error}", file=sys.stderr)
    return found, absent


if __name__ == "__main__":
    main()
