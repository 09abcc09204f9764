"""The watch over the event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time

import pytest

from micro.concurrency.watchdog import Watchdog, _ThreadTimes, watch_loop


def block_for(seconds: float) -> None:
    threading.Event().wait(seconds)


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
    assert "by test_a_blocked_loop_is_reported_once" in noticed.text
    assert "block_until" in noticed.text
    assert "asyncio" not in noticed.text


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


class Starved(Watchdog):
    """On a machine where the loop's thread has waited for a processor all the time."""

    def _times(self) -> _ThreadTimes:
        return _ThreadTimes(0.0, time.monotonic())


async def test_a_loop_that_waits_for_a_processor_is_not_blocked() -> None:
    watchdog = Starved(asyncio.get_running_loop(), 0.05)
    watchdog.start()
    block_for(0.3)
    watchdog.stop()

    assert watchdog.stalls == 0


PROGRAM = """
import asyncio, logging, sys
from micro.concurrency.watchdog import watch_loop

logging.basicConfig(stream=sys.stdout)

async def main():
    with watch_loop(0.1):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_process_that_was_stopped_does_not_report_a_block(loop: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGSTOP)
        threading.Event().wait(0.6)
        program.send_signal(signal.SIGCONT)
        rest, _ = program.communicate("go\n", timeout=20)

    assert rest == ""
