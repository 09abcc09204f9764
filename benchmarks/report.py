"""Puts a run's results on the screen, into `results/latest.json` and into the documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import OURS, TARGETS
from benchmarks.contenders import ROOT, Contender
from benchmarks.machine import sentence
from benchmarks.ratios import Verdict, judge, ratio
from benchmarks.runner import Figures, Rounds
from benchmarks.tables import detail_table, probe_table, rate_table, target_table

__all__ = ["Run"]

LATEST = ROOT / "benchmarks" / "results" / "latest.json"
PAGE = ROOT / "docs" / "performance.md"
_BEGIN = "<!-- benchmarks: begin -->"
_END = "<!-- benchmarks: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that one run found out."""

    machine: dict[str, str | int]
    rounds: int
    seconds: float
    contenders: dict[str, Contender]
    absent: dict[str, str]
    figures: Figures
    probes: Rounds

    def text(self) -> str:
        """The tables, as Markdown."""
        measured = [verdict for verdict in self.verdicts() if verdict.measured is not None]
        parts = [sentence(self.machine)]
        parts.append(f"Medians of {self.rounds} rounds, {self.seconds:g} s each for calls.")
        if self.absent:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.absent.items())
            parts.append(f"Absent: {reasons}.")
        failures = [
            f"{case}, {peer}: {rounds.failure}"
            for case, found in self.figures.items()
            for peer, rounds in found.items()
            if rounds.failure
        ]
        if failures:
            parts.append(f"Failed: {'; '.join(failures)}.")
        if measured:
            parts += ["### Targets", target_table(measured, self.contenders)]
        if self.figures:
            title = f"In brackets, how many times that `{OURS}` has."
            parts += ["### Rates", title, rate_table(self.figures, self.contenders)]
            head = "### Latency and processor time a call"
            parts += [head, detail_table(self.figures)]
        if self.probes.values:
            parts += [f"### `{OURS}` alone", probe_table(self.probes)]
        return "\n\n".join(parts) + "\n"

    def verdicts(self) -> list[Verdict]:
        return [judge(target, self.figures, self.probes) for target in TARGETS]

    def write(self) -> list[Path]:
        """Write what was measured; gives the files."""
        LATEST.parent.mkdir(exist_ok=True)
        LATEST.write_text(json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n")
        page = PAGE.read_text()
        before, begin, rest = page.partition(_BEGIN)
        _, end, after = rest.partition(_END)
        if not begin or not end:
            raise SystemExit(f"{PAGE.name} has lost its markers")
        PAGE.write_text(f"{before}{begin}\n\n{self.text()}\n{end}{after}")
        return [LATEST, PAGE]

    def as_dict(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "peers": {name: each.versions for name, each in self.contenders.items()},
            "absent": self.absent,
            "cases": {
                case: {peer: rounds.as_dict() for peer, rounds in found.items()}
                for case, found in self.figures.items()
            },
            "ratios": {
                case: {peer: found for peer in peers if (found := self._ratios(case, peer))}
                for case, peers in self.figures.items()
            },
            "alone": self.probes.as_dict(),
            "targets": [
                {
                    "case": verdict.target.title,
                    "against": verdict.target.against,
                    "wanted": verdict.target.wanted,
                    "measured": verdict.measured,
                    "met": verdict.met,
                }
                for verdict in self.verdicts()
            ],
        }

    def _ratios(self, case: str, peer: str) -> dict[str, dict[str, float]]:
        if peer == OURS:
            return {}
        found = {name: ratio(self.figures, case, peer, name) for name in ("rate", "p50", "p99")}
        return {
            name: {"median": each.median, "low": each.low, "high": each.high}
            for name, each in found.items()
            if each is not None
        }
