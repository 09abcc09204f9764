"""Nothing may be left behind: no task, no open file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["assert_nothing_left"]

_FDS = Path("/proc/self/fd")
_TURNS = 20
_SOCKET_TURN = 0.005


@asynccontextmanager
async def assert_nothing_left() -> AsyncIterator[None]:
    """Fail when the block leaves tasks or open files that were not there before it.

    What ends by itself within a moment, as the closing of a TCP connection does, is waited for.
    Open files are counted where the system tells of them (Linux).

    Raises:
        AssertionError: something was left; it is named.
    """
    tasks, files = asyncio.all_tasks(), _open_files()
    yield
    for turn in range(_TURNS):
        left = _left(tasks, files)
        if not left:
            return
        # First mere turns of the loop, for callbacks that are due; then time for the network.
        await asyncio.sleep(0 if turn < _TURNS // 2 else _SOCKET_TURN * turn)
    raise AssertionError(f"left behind: {'; '.join(left)}")


def _left(tasks: set[asyncio.Task[object]], files: dict[int, str]) -> list[str]:
    # pytest-asyncio runs the two halves of a fixture in different tasks.
    left = [repr(task) for task in asyncio.all_tasks() - tasks - {asyncio.current_task()}]
    now = _open_files()
    if len(now) > len(files):
        left.extend(f"file {fd} ({now[fd]})" for fd in now if files.get(fd) != now[fd])
    return left


def _open_files() -> dict[int, str]:
    files: dict[int, str] = {}
    if not _FDS.is_dir():
        return files
    for entry in os.listdir(_FDS):
        try:
            files[int(entry)] = os.readlink(_FDS / entry)
        except FileNotFoundError:
            continue  # the descriptor that listed the directory
    return files
