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


REFUSED = (
    "client.publish(awarded, Balance(user='ann', points=5))",
    "service.publish(awarded, 5)",
    "client.publish(either, 5, sometimes=True)",
)


@pytest.mark.timeout(120)
def test_mypy_refuses_what_would_fail_at_run_time(tmp_path: Path) -> None:
    lines = [
        "from micro import Client",
        "from tests.typing.api import Balance, awarded, either, service",
        "async def wrong(client: Client) -> None:",
        *(f"    await {text}" for text in REFUSED),
    ]
    program = tmp_path / "wrong.py"
    program.write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    refused = {int(line.split(":")[1]) for line in done.stdout.splitlines() if " error: " in line}

    assert refused == set(range(4, 4 + len(REFUSED))), done.stdout
