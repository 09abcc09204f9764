"""What the run measured, and the table of it in docs/reliability.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Verdict", "renew_rows", "write_table"]

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN = "<!-- written by `make faults`: begin -->"
_END = "<!-- written by `make faults`: end -->"
_HEAD = "| Fault | Criterion | Measured | Verdict |\n| --- | --- | --- | --- |"


@dataclass(slots=True)
class Verdict:
    """One row of the table.

    Attributes:
        fault: What was done.
        criterion: What had to hold.
        test: The test that says so.
        measured: What came of it; the test sets it before it asserts.
        holds: Whether the test passed.
    """

    fault: str
    criterion: str
    test: str
    measured: str = "not measured"
    holds: bool = False

    def row(self) -> str:
        cells = (self.fault, self.criterion, self.measured, "holds" if self.holds else "**fails**")
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_table(verdicts: list[Verdict], about: str) -> None:
    """Put the rows between the page's two marks."""
    _write(about, [verdict.row() for verdict in verdicts])


def renew_rows(verdicts: list[Verdict], about: str) -> None:
    """Put a row in the place of the one that told of the same fault in an earlier run."""
    old, _, rows = _read().partition(_HEAD)
    renewed = {_fault(verdict.row()): verdict.row() for verdict in verdicts}
    kept = [renewed.pop(_fault(row), row) for row in rows.strip().splitlines()]
    _write(f"{old.strip()} {len(verdicts)} row(s) since: r{about[1:]}", [*kept, *renewed.values()])


def _fault(row: str) -> str:
    return row.partition(" | ")[0]


def _read() -> str:
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0]


def _write(about: str, rows: list[str]) -> None:
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    table = "\n".join([_HEAD, *rows])
    PAGE.write_text(f"{before}{_BEGIN}\n\n{about}\n\n{table}\n\n{_END}{after}")
