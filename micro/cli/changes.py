"""Which source files changed, as `watchfiles` tells."""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncIterator, Iterable
from importlib.util import find_spec
from pathlib import Path

from micro.errors import ConfigError

__all__ = ["require_watchfiles", "watch_changes"]

DEBOUNCE_MILLISECONDS = 200
"""Files that are saved together are one change."""


def require_watchfiles() -> None:
    """Refuse `--reload` where `watchfiles` is missing.

    Raises:
        ConfigError: it is not installed; the text says how to install it.
    """
    if find_spec("watchfiles") is None:
        raise ConfigError("--reload needs the package watchfiles: pip install 'micro-rpc[reload]'")


async def watch_changes(folders: Iterable[Path]) -> AsyncIterator[set[Path]]:
    """Give the Python files below some folders that changed, each time some did."""
    watchfiles = importlib.import_module("watchfiles")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    watching = watchfiles.awatch(
        *folders, watch_filter=watchfiles.PythonFilter(), debounce=DEBOUNCE_MILLISECONDS
    )
    async for changes in watching:
        yield {Path(path) for _, path in changes}
