"""Runs examples as a reader would, each in a process of its own and within a bound."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["ROOT", "run", "serving"]

ROOT = Path(__file__).parents[2]
_BOUND = 30.0
_STOP_BOUND = 10.0


def run(
    *arguments: str, cwd: Path = ROOT, path: str | None = None, bound: float = _BOUND
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments until it ends; `path` becomes its PYTHONPATH."""
    return subprocess.run(
        (sys.executable, *arguments),
        cwd=cwd,
        env=_environment(path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=bound,
        check=False,
    )


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run Python with these arguments inside the block; then SIGTERM must end it well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, env=_environment(None)
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), _STOP_BOUND)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert code == 0


def _environment(path: str | None) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MICRO_", "PYTEST_"))}
    environment.pop("PYTHONPATH", None)
    return environment if path is None else {**environment, "PYTHONPATH": path}
