"""What the interop tests showed, as the table in `docs/interop.md`."""

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

    def text(self, generations: tuple[str, ...]) -> str:
        heads = [f"{g}: {d}" for g in generations for d in DIRECTIONS]
        lines = [f"| capability | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for capability in dict.fromkeys(key[0] for key in self.cells):
            row = [
                self.cells.get((capability, generation, direction), "")
                or ("not run" if generation in self.missing else "-")
                for generation in generations
                for direction in DIRECTIONS
            ]
            lines.append(f"| {capability} | {' | '.join(row)} |")
        lines += [f"\n{g}: not run, because {reason}." for g, reason in self.missing.items()]
        return "\n".join(lines) + "\n"

    def write(self, generations: tuple[str, ...]) -> None:
        page = PAGE.read_text()
        head, _, rest = page.partition(BEGIN)
        _, _, tail = rest.partition(END)
        PAGE.write_text(head + BEGIN + self.text(generations) + END + tail)
