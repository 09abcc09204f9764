"""The page on dependencies: its snippets are one program, whose output it tells."""

from __future__ import annotations

from pathlib import Path

from tests.docs.test_guide_calls import program_of, run


def test_the_snippets_run_and_print_what_the_page_says(tmp_path: Path) -> None:
    program, output = program_of("dependencies", tmp_path)
    done = run("-W", "error", program)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output


def test_the_snippets_are_typed(tmp_path: Path) -> None:
    program, _ = program_of("dependencies", tmp_path)
    done = run("-m", "mypy", "--strict", "--no-incremental", program)

    assert done.returncode == 0, done.stdout
