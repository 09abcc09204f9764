from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from micro.concurrency.watchdog import Watchdog, watch_loop


def block_until(over: threading.Event) -> None:
    assert over.wait(5)


class Noticed(logging.Handler):
    """Ends the stall as soon as it is reported."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self.over = over
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()
        self.over.set()


async def test_a_blocked_loop_is_reported_once_with_the_line_that_blocks() -> None:
    over = threading.Event()
    noticed = Noticed(over)
    log = logging.getLogger("micro.watchdog")
    log.addHandler(noticed)
    try:
        with watch_loop(0.05) as watchdog:
            block_until(over)
    finally:
        log.removeHandler(noticed)

    assert watchdog is not None
    assert watchdog.stalls == 1
    assert "block_until" in noticed.text


class Counting(Watchdog):
    """Tells when the loop has answered three times."""

    def __init__(self, threshold: float) -> None:
        super().__init__(asyncio.get_running_loop(), threshold)
        self.answers = 0
        self.answered_often = asyncio.Event()

    def _answer(self) -> None:
        super()._answer()
        self.answers += 1
        if self.answers == 3:
            self.answered_often.set()


async def test_a_loop_that_turns_is_not_reported() -> None:
    watchdog = Counting(0.5)
    watchdog.start()
    async with asyncio.timeout(5):
        await watchdog.answered_often.wait()
    watchdog.stop()

    assert watchdog.stalls == 0


@pytest.mark.parametrize("threshold", [0, -1])
async def test_no_threshold_watches_nothing(threshold: float) -> None:
    with watch_loop(threshold) as watchdog:
        assert watchdog is None
