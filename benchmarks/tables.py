"""The results as tables, which read well in a terminal and are Markdown, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.alone import PROBES
from benchmarks.cases import CASES, OURS
from benchmarks.contenders import Contender
from benchmarks.ratios import Verdict, ratio
from benchmarks.runner import Figures, Rounds

__all__ = ["detail_table", "probe_table", "rate_table", "target_table"]

_FIELDS = {
    "p50": "p50, µs",
    "p99": "p99, µs",
    "client_cpu": "client, µs",
    "server_cpu": "server, µs",
}


def target_table(verdicts: Iterable[Verdict], contenders: dict[str, Contender]) -> str:
    """What is wanted, and what was measured."""
    rows = []
    for verdict in verdicts:
        target = verdict.target
        measured = "-" if verdict.measured is None else f"{verdict.measured:,.2f} x"
        if verdict.measured is not None and target.peer is None:
            measured = f"{verdict.measured:,.0f}"
        against = _versioned(target.against, contenders)
        rows.append(
            (target.title, against, target.wanted, measured, verdict.spread, verdict.outcome)
        )
    return _table(("case", "against", "wanted", "measured", "range", ""), rows)


def rate_table(figures: Figures, contenders: dict[str, Contender]) -> str:
    """A row for each case, a column for each peer: its rate, and how many times that ours is."""
    rows = []
    for case in CASES:
        if case.name in figures:
            cells = [_rate(figures, case.name, peer) for peer in contenders]
            rows.append((f"{case.title}, {case.unit}/s", *cells))
    return _table(("", *(_versioned(name, contenders) for name in contenders)), rows)


def detail_table(figures: Figures) -> str:
    """Latency and the processor's time a call, for calls."""
    rows = []
    for case in CASES:
        for peer, rounds in figures.get(case.name, {}).items():
            if rounds.failure or not rounds.median("p50"):
                continue
            low, high = min(rounds.values["rate"]), max(rounds.values["rate"])
            cells = [_plain(rounds.median(name)) for name in _FIELDS]
            rows.append((case.title, peer, *cells, f"{low:,.0f}-{high:,.0f}"))
    return _table(("case", "peer", *_FIELDS.values(), "calls/s, range"), rows)


def probe_table(probes: Rounds) -> str:
    """What only we have."""
    rows = []
    for probe in PROBES:
        if values := probes.values.get(probe.name):
            figures = (probes.median(probe.name), min(values), max(values))
            middle, low, high = (f"{figure:,.0f}" for figure in figures)
            rows.append((probe.title, f"{middle} {probe.unit}".strip(), f"{low}-{high}"))
    return _table(("", "median", "range"), rows)


def _rate(figures: Figures, case: str, peer: str) -> str:
    rounds = figures[case].get(peer)
    if rounds is None:
        return ""
    if rounds.failure:
        return "failed"
    rate = f"{rounds.median('rate'):,.0f}"
    found = ratio(figures, case, peer)
    return rate if found is None or peer == OURS else f"{rate} ({found})"


def _versioned(name: str, contenders: dict[str, Contender]) -> str:
    contender = contenders.get(name)
    if contender is None:
        return name
    number = contender.versions.get(_PACKAGES.get(name, ""), "")
    return f"{name} {number}".strip()


_PACKAGES = {
    "nats-py": "nats-py",
    "FastStream": "faststream",
    "grpc.aio": "grpcio",
    "go-micro": "go-micro",
    "Moleculer": "moleculer",
}


def _plain(figure: float) -> str:
    if not figure:
        return "-"
    return f"{figure:,.1f}" if figure < 100 else f"{figure:,.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    numeric = [bool(at) and _is_numeric(row[at] for row in rows) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        pairs = zip(cells, widths, numeric, strict=True)
        return "| " + " | ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in pairs) + " |"

    rule = "|".join(
        "-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, numeric, strict=True)
    )
    return "\n".join([line(head), f"|{rule}|", *(line(row) for row in rows)])


def _is_numeric(cells: Iterable[str]) -> bool:
    filled = [cell for cell in cells if cell and cell != "-"]
    return bool(filled) and all(cell[0].isdigit() for cell in filled)
