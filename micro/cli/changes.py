"""Which source files changed: told by `watchfiles` where it is installed, else found by looking."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import AsyncIterator, Iterable
from importlib.util import find_spec
from pathlib import Path

__all__ = ["poll_changes", "watch_changes"]

_INTERVAL = 0.5
_IGNORED = {"__pycache__", "node_modules", "site-packages", "build", "dist"}


async def watch_changes(folders: Iterable[Path]) -> AsyncIterator[set[Path]]:
    """Give the Python files that changed below some folders, each time some did."""
    if find_spec("watchfiles") is None:
        async for changed in poll_changes(folders):
            yield changed
        return
    watchfiles = importlib.import_module("watchfiles")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    watching = watchfiles.awatch(*folders, watch_filter=watchfiles.PythonFilter(), debounce=200)
    async for changes in watching:
        yield {Path(path) for _, path in changes}


async def poll_changes(
    folders: Iterable[Path], interval: float = _INTERVAL
) -> AsyncIterator[set[Path]]:
    """Look for changed Python files every `interval` seconds; hidden folders are left out."""
    roots = list(folders)
    before = await asyncio.to_thread(_look, roots)
    while True:
        await asyncio.sleep(interval)
        now = await asyncio.to_thread(_look, roots)
        # A pair that is not in both is a file that came, went, or has a new time.
        if changed := {path for path, _ in before.items() ^ now.items()}:
            yield changed
        before = now


def _look(roots: Iterable[Path]) -> dict[Path, int]:
    found: dict[Path, int] = {}
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = [one for one in folders if one[0] != "." and one not in _IGNORED]
            for path in (Path(folder, name) for name in files if name.endswith(".py")):
                try:
                    found[path] = path.stat().st_mtime_ns
                except FileNotFoundError:
                    continue  # It went while we looked: the next look will tell.
    return found
