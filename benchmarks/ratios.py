"""Two peers compared, round by round, and the targets judged by that."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.cases import OURS, Target
from benchmarks.runner import Figures, Rounds

__all__ = ["Ratio", "Verdict", "judge", "ratio"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours divided by another's: the median over the rounds, and the range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} x"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and what was measured of it.

    Attributes:
        measured: A ratio or a figure; `None` where the other side was absent.
        met: Whether it is what was wanted.
    """

    target: Target
    measured: float | None
    spread: str
    met: bool

    @property
    def outcome(self) -> str:
        """`met`, or by how much not."""
        if self.measured is None:
            return "not measured"
        if self.met:
            return "met"
        bound = self.target.bound
        if not bound:
            return "not met"
        return f"missed by {abs(self.measured - bound) / bound:.0%}"


def ratio(figures: Figures, case: str, peer: str, field: str = "rate") -> Ratio | None:
    """Ours to another's in one case; each round is compared with the one beside it."""
    rounds = figures.get(case, {})
    ours, theirs = (rounds.get(name, Rounds()).values.get(field, []) for name in (OURS, peer))
    pairs = [a / b for a, b in zip(ours, theirs, strict=False) if b]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs)) if pairs else None


def judge(target: Target, figures: Figures, probes: Rounds) -> Verdict:
    """Compare what was measured with what was wanted."""
    if target.peer is not None:
        found = ratio(figures, target.case, target.peer, target.field)
        if found is None:
            return Verdict(target, None, "", False)
        return _verdict(target, found.median, f"{found.low:.2f}-{found.high:.2f}")
    if target.case in figures:
        rounds, field = figures[target.case].get(OURS, Rounds()), target.field
    else:
        rounds, field = probes, target.case
    values = rounds.values.get(field)
    if not values:
        return Verdict(target, None, "", False)
    return _verdict(target, statistics.median(values), f"{min(values):,.0f}-{max(values):,.0f}")


def _verdict(target: Target, measured: float, spread: str) -> Verdict:
    met = measured >= target.bound if target.least else measured <= target.bound
    return Verdict(target, measured, spread, met)
