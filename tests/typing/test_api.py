"""The typed uses of the public names are complete, and mypy agrees with them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import micro

API = Path(__file__).with_name("api.py")
ROOT = Path(__file__).parents[2]


def test_every_public_name_is_used() -> None:
    tree = ast.parse(API.read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "micro"
        for alias in node.names
    }

    assert imported == set(micro.__all__)


@pytest.mark.timeout(120)
def test_mypy_agrees() -> None:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(API)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")
