"""What the run measured, and the table of it in docs/reliability.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Verdict", "write_table"]

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN = "<!-- written by `make faults`: begin -->"
_END = "<!-- written by `make faults`: end -->"


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
    head = "| Fault | Criterion | Measured | Verdict |\n| --- | --- | --- | --- |"
    rows = "\n".join(verdict.row() for verdict in verdicts)
    text = PAGE.read_text()
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}\n\n{about}\n\n{head}\n{rows}\n\n{_END}{after}")
