"""How a program ends: its exit codes, and the last resorts when something does not end."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = [
    "EXIT_CUT_OFF",
    "EXIT_SECOND_SIGNAL",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "end_process",
    "end_process_soon",
    "last_resort",
]

_log = logging.getLogger("micro.service")

EXIT_CUT_OFF = 1
"""Something was cut off at the stop, or the start failed."""
EXIT_USAGE = 2
"""A setting, plugin or handler cannot be used."""
EXIT_UNREACHABLE = 3
"""No server could be reached."""
EXIT_SECOND_SIGNAL = 130
"""A second signal ended the process."""

THREADS_SECONDS = 2.0
"""What the interpreter gets to end its threads when all services have stopped."""


def end_process(code: int, reason: str) -> None:
    """End the process at once, from any thread, without waiting for anything but the log."""
    _log.critical("%s", reason)
    logging.shutdown()
    os._exit(code)


@contextmanager
def last_resort(seconds: float, describe: Callable[[], str]) -> Iterator[None]:
    """End the process with code 1 if the block takes longer than `seconds`.

    It works from a thread of its own, so that it also helps when the event loop is blocked.

    Args:
        seconds: The longest time for the block.
        describe: Says what the block is waiting for.
    """
    timer = threading.Timer(
        seconds,
        lambda: end_process(
            EXIT_CUT_OFF, f"the stop took longer than {seconds:g} s and is cut off: {describe()}"
        ),
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_process_soon(seconds: float = THREADS_SECONDS) -> None:
    """End the process after some seconds if the interpreter has not ended by then.

    A thread that is not a daemon would keep it alive without end.
    """

    def end() -> None:
        own = (threading.main_thread(), threading.current_thread())
        left = [thread.name for thread in threading.enumerate() if thread not in own]
        names = ", ".join(left) or "none"
        end_process(EXIT_CUT_OFF, f"the services have stopped; threads that still run: {names}")

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    sys.stdout.flush()
