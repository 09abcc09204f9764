"""The results of the interop tests, as the table in `docs/interop.md`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Table"]

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->"
DIRECTIONS = ("Go calls Python", "Python calls Go")


class Table:
    """Cells by capability, generation and direction; the worst outcome of a cell's tests wins."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str], str] = {}
        self.missing: dict[str, str] = {}

    def note(self, capability: str, generation: str, direction: str, outcome: str) -> None:
        key = (capability, generation, direction)
        if self.cells.get(key) in (None, "passes"):
            self.cells[key] = outcome

    def keep(self, page: str) -> None:
        """Take the columns of generations that did not run from the page as it is."""
        heads, *rows = [_cells(line) for line in page.splitlines() if line.startswith("| ")]
        for row in rows:
            for head, outcome in zip(heads[1:], row[1:], strict=True):
                generation, _, direction = head.partition(": ")
                if generation in self.missing and outcome != "-":
                    self.note(row[0], generation, direction, outcome)

    def text(self, generations: tuple[str, ...]) -> str:
        heads = [f"{g}: {d}" for g in generations for d in DIRECTIONS]
        lines = [f"| capability | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for capability in dict.fromkeys(key[0] for key in self.cells):
            row = [
                self.cells.get((capability, generation, direction), "-")
                for generation in generations
                for direction in DIRECTIONS
            ]
            lines.append(f"| {capability} | {' | '.join(row)} |")
        if self.missing:
            lines.append(f"\nThe columns of {' and '.join(self.missing)} are from an earlier run.")
        return "\n".join(lines) + "\n"

    def write(self, generations: tuple[str, ...]) -> None:
        page = PAGE.read_text()
        head, _, rest = page.partition(BEGIN)
        table, _, tail = rest.partition(END)
        self.keep(table)
        PAGE.write_text(head + BEGIN + self.text(generations) + END + tail)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
