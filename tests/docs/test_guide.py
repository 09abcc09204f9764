"""Every page of the guide: its snippets run, print what the page says, and are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import GUIDE, ROOT, Page, read_page
from tests.docs.test_docs import BLOCK

PAGES = [page for page in map(read_page, sorted(GUIDE.glob("*.md"))) if page.files]
PROGRAMS = [page for page in PAGES if page.program]
# Their subscribers and callers print side by side.
UNORDERED = {"deadlines", "topics", "outbox"}

pytestmark = [pytest.mark.xdist_group("guide"), pytest.mark.timeout(120)]


def python(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MICRO_", "PYTEST_"))}
    environ["MYPYPATH"] = environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'plugins'}:{cwd}"
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    for page in PAGES:
        page.write(folder)
    return folder


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, tuple[str, str]]:
    """What the programs of all pages print, run in one process."""
    programs = [page.program for page in PROGRAMS]
    done = python("-W", "error", ROOT / "tests/docs/run_pages.py", *programs, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_two_pages_write_the_same_file() -> None:
    names = [name for page in PAGES for name in page.files]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_a_page_prints_what_it_says(page: Page, printed: dict[str, tuple[str, str]]) -> None:
    out, err = printed[page.program]
    arrange = sorted if page.name in UNORDERED else list

    assert err == ""
    assert arrange(out.splitlines()) == arrange(page.output.splitlines())
    assert out


def test_the_snippets_of_all_pages_and_of_the_readme_are_typed(folder: Path) -> None:
    names = [name for page in PAGES for name in page.files if name.endswith(".py")]
    (folder / "readme.py").write_text(readme())
    done = python("-m", "mypy", "--strict", *names, "readme.py", cwd=folder)

    assert done.returncode == 0, done.stdout


def readme() -> str:
    """The README's first service, and the lines under "The parts" with what they take for given."""
    hello, parts = BLOCK.findall((ROOT / "README.md").read_text())
    lines = "\n".join(f"    {line}" for line in parts.splitlines())
    return f"{hello}\n{PRELUDE}\n\nasync def example() -> None:\n{lines}\n"


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
