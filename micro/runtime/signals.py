"""Signals as something to wait for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["on_signal"]


@contextmanager
def on_signal(arrived: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call a function on the event loop for each SIGINT or SIGTERM, in place of their effect."""
    loop = asyncio.get_running_loop()
    caught = (signal.SIGINT, signal.SIGTERM)
    for number in caught:
        loop.add_signal_handler(number, arrived, number)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
