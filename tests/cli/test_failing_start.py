"""A start that fails is one line, in the format of the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SERVICE = """
from micro import Service

service = Service("points", version="1.2.3", settings={"server_id": "one"})

@service.on_start
def fail() -> None:
    raise ValueError("no database\\x1b[31m")

if __name__ == "__main__":
    service.run()
"""
MEMORY = ("--transport=memory", "--broker=memory", "--registry=memory")
FAILURES = {
    "hook": (MEMORY, 1, "no database"),
    "setting": (("--max-queue", "x"), 2, "flag --max-queue"),
    "flag": (("--zzz",), 2, "flag --zzz"),
    "server": (("--transport-address=127.0.0.1:1", "--connect-timeout=200ms"), 3, "127.0.0.1:1"),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the service by itself or by the command; its exit code and standard error."""
    for name in [name for name in os.environ if name.startswith("MICRO_")]:
        monkeypatch.delenv(name)

    def run(how, *flags):
        path = tmp_path / "points.py"
        path.write_text(SERVICE)
        command = [path] if how == "program" else ["-m", "micro.cli", "run", path]
        done = subprocess.run(
            [sys.executable, *command, *flags], capture_output=True, text=True, timeout=50
        )
        return done.returncode, done.stderr

    return run


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("how", ["program", "command"])
def test_a_failing_start_writes_json_lines_only(how, kind, run) -> None:
    flags, expected, text = FAILURES[kind]

    code, err = run(how, *flags, "--log-format=json")
    lines = [json.loads(line) for line in err.splitlines()]

    assert code == expected
    assert text in lines[-1]["message"]
    assert lines[-1]["level"] == "critical"


@pytest.mark.parametrize("how", ["program", "command"])
def test_a_failing_start_hook_is_one_line_of_text_without_a_traceback(how, run) -> None:
    code, err = run(how, *MEMORY, "--log-level=error")

    assert code == 1
    assert err.count("\n") == 1
    assert "ValueError: no database\\x1b[31m (" in err
