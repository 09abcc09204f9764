from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from micro.settings.load import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_compiles(page: Path) -> None:
    for block in BLOCK.findall(page.read_text()):
        lines = "\n".join(f"    {line}" for line in block.splitlines())

        compile(f"async def example():\n{lines}\n", str(page), "exec")


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for option in OPTIONS:
        default = f"`{option.default_text}`" if option.default_text else "none"
        rows.append(f"| `{option.name}` | {default} | {option.help} |")
    return "\n".join(rows)


def test_the_settings_table_is_what_the_program_knows() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    table = text.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]

    assert table.replace("\\|", "|") == settings_table()


def test_the_parts_in_the_readme_are_typed(tmp_path: Path) -> None:
    hello, parts = BLOCK.findall((ROOT / "README.md").read_text())
    program = tmp_path / "parts.py"
    indented = "\n".join(f"    {line}" for line in parts.splitlines())
    program.write_text(f"{hello}\n{PRELUDE}\n\nasync def example() -> None:\n{indented}\n")

    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


PRELUDE = """
from collections.abc import AsyncIterator
from typing import Any, Protocol


class Award(BaseModel):
    user: str
    points: int


class Balance(Award): ...


class HistoryQuery(BaseModel):
    user: str


class Entry(Award): ...


class OrderCreated:
    def __init__(self, *fields: object) -> None: ...


class Points(Protocol):
    async def award(self, request: Award) -> Balance: ...
"""
