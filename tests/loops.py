"""Runs a test's coroutine on the event loops that services run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

both_loops = pytest.mark.parametrize("loop", LOOPS)
"""Marks a plain test with a parameter `loop`, to be given to `run_on`."""


def run_on(loop: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function on one of the loops."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(work())
