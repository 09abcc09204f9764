"""SIGINT and SIGTERM: the first one stops the program in good order, a later one ends it at once.

Children that a handler forks do not share in this: they get the default handlers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

from micro.runtime.ending import EXIT_SECOND_SIGNAL, end_process

__all__ = ["StopSignals", "interruptible", "on_signal", "stop_signals"]

_log = logging.getLogger("micro.service")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECOND_SIGNAL_SECONDS = 1.0
"""Wrappers send a signal twice within milliseconds; a person who insists takes longer."""


class _Interrupted(BaseException):
    """A signal came while plain code kept the event loop from taking it."""


@contextmanager
def on_signal(
    arrived: Callable[[signal.Signals], None], numbers: Sequence[signal.Signals] = STOP_SIGNALS
) -> Iterator[None]:
    """Call a function on the event loop for each signal, in place of the signal's usual effect."""
    loop = asyncio.get_running_loop()
    _protect_children()
    for number in numbers:
        loop.add_signal_handler(number, arrived, number)
    _caught.extend(numbers)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            _caught.remove(number)


class StopSignals:
    """The signals that a running program has got. Install it with `stop_signals`.

    Args:
        on_first: Called on the event loop when the first signal has come.
        on_second: Called with each further signal that comes at least 1 s after the first.
    """

    def __init__(
        self, on_first: Callable[[], object], on_second: Callable[[signal.Signals], object]
    ) -> None:
        self._on_first = on_first
        self._on_second = on_second
        self._first: signal.Signals | None = None
        self._arrived = asyncio.Event()
        self._time = 0.0
        self._start: asyncio.Timeout | None = None

    @property
    def first(self) -> signal.Signals | None:
        """The first signal, once one has come."""
        return self._first

    async def wait(self) -> signal.Signals:
        """Wait for the first signal."""
        await self._arrived.wait()
        assert self._first is not None, "it is set before the event"
        return self._first

    @asynccontextmanager
    async def cancelling(self) -> AsyncIterator[None]:
        """Cancel the block when the first signal comes, and leave it without an error."""
        try:
            async with asyncio.timeout(None) as limit:
                self._start = limit
                yield
        except _Interrupted:
            return
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._start = None

    def arrived(self, number: signal.Signals) -> None:
        """Take a signal on the event loop."""
        now = asyncio.get_running_loop().time()
        if self._first is None:
            self._first, self._time = number, now
            self._arrived.set()
            self._on_first()
            if self._start is not None:
                self._start.reschedule(now)
        elif now - self._time >= SECOND_SIGNAL_SECONDS:
            self._on_second(number)
        else:
            _log.warning(
                "%s ignored: it came %.3f s after the first signal; from %g s on it ends the"
                " process at once",
                *(number.name, now - self._time, SECOND_SIGNAL_SECONDS),
            )

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Take the first signal while plain code runs that the event loop cannot cancel."""
        del frame
        if self._first is None:
            # `arrived` will be called as well, for the same signal: it must not cancel a second
            # time, while what was opened is being closed.
            self._start = None
            raise _Interrupted(signal.Signals(number).name)


def end_at_once(number: signal.Signals) -> None:
    """End the process, as a second signal demands."""
    end_process(EXIT_SECOND_SIGNAL, f"{number.name} again: the process ends at once")


@contextmanager
def stop_signals(
    on_first: Callable[[], object], on_second: Callable[[signal.Signals], object] = end_at_once
) -> Iterator[StopSignals]:
    """Take SIGINT and SIGTERM inside a block; see `StopSignals`."""
    signals = StopSignals(on_first, on_second)
    with on_signal(signals.arrived):
        _programs.append(signals)
        try:
            yield signals
        finally:
            _programs.remove(signals)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first signal interrupt plain code in the block, as Ctrl-C does in a script."""
    if not _programs or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _programs[-1].interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_programs: list[StopSignals] = []
_caught: list[signal.Signals] = []
_protected = False
_masks = threading.local()


def _protect_children() -> None:
    """Give forked children the default handlers, from the first use of signals on."""
    global _protected
    if not _protected:
        _protected = True
        os.register_at_fork(
            before=_hold_signals, after_in_parent=_release_signals, after_in_child=_forget_signals
        )


def _hold_signals() -> None:
    # A signal to the child that came before the child has its own handlers would be written to the
    # wake-up descriptor, which is the parent's, and stop the parent.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, set(_caught))


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _forget_signals() -> None:
    if _caught:
        signal.set_wakeup_fd(-1)
    for number in _caught:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)
    _caught.clear()
    _programs.clear()
    _release_signals()
