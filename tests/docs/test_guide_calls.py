"""The pages on topics, contracts and calls: their snippets are one program with the output told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_docs import BLOCK, ROOT

PAGES = ("topics", "contracts", "calling")
OUTPUT = re.compile(r"^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)


def program_of(page: str, folder: Path) -> tuple[Path, str]:
    """A page's snippets, one after the other, and the output that the page tells."""
    text = (ROOT / f"docs/guide/{page}.md").read_text()
    program = folder / f"guide_{page}.py"
    program.write_text("from __future__ import annotations\n\n" + "\n\n".join(BLOCK.findall(text)))
    (output,) = OUTPUT.findall(text)
    return program, output


def run(*command: object) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
    environ["MYPYPATH"] = environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'plugins'}"
    command = tuple(map(str, command))
    return subprocess.run(
        [sys.executable, *command], env=environ, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run_and_print_what_it_says(page: str, tmp_path: Path) -> None:
    program, output = program_of(page, tmp_path)
    done = run("-W", "error", program)

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(output.splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_are_typed(page: str, tmp_path: Path) -> None:
    program, _ = program_of(page, tmp_path)
    done = run("-m", "mypy", "--strict", "--no-incremental", program)

    assert done.returncode == 0, done.stdout
