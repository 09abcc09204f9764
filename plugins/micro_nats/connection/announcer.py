"""Reports connection events to the application, at a bounded rate."""

from __future__ import annotations

import asyncio
import logging

from micro.backend import BackendOptions, ConnectionEvent, ConnectionState

__all__ = ["Announcer"]

log = logging.getLogger("micro.nats")

_INTERVAL_SECONDS = 1.0


class Announcer:
    """Calls `BackendOptions.on_event`, and logs its failures."""

    def __init__(self, options: BackendOptions) -> None:
        self._on_event = options.on_event
        self._skipped: dict[tuple[ConnectionState, str], tuple[int, str]] = {}
        self._timers: dict[tuple[ConnectionState, str], asyncio.TimerHandle] = {}

    def emit(self, state: ConnectionState, detail: str) -> None:
        """Report an event now."""
        try:
            self._on_event(ConnectionEvent(state=state, detail=detail))
        except Exception:
            log.exception("on_event failed for %s", state)

    def emit_limited(self, state: ConnectionState, detail: str, *, kind: str = "") -> None:
        """Report an event now, or together with others of its kind a second after the last.

        A peer or server decides how often such an event happens, so the rate is bounded here.

        Args:
            state: What happened.
            detail: The details; of several events the last is reported, with the number of others.
            kind: Separates events of the same state.
        """
        key = (state, kind)
        if key in self._timers:
            self._skipped[key] = (self._skipped.get(key, (0, ""))[0] + 1, detail)
            return
        self.emit(state, detail)
        self._wait(key)

    def close(self) -> None:
        """Report what was held back, and stop."""
        for key, timer in list(self._timers.items()):
            timer.cancel()
            self._tell_skipped(key)
        self._timers.clear()

    def _wait(self, key: tuple[ConnectionState, str]) -> None:
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(_INTERVAL_SECONDS, self._end_of_interval, key)

    def _end_of_interval(self, key: tuple[ConnectionState, str]) -> None:
        del self._timers[key]
        if key in self._skipped:
            self._tell_skipped(key)
            self._wait(key)

    def _tell_skipped(self, key: tuple[ConnectionState, str]) -> None:
        number, detail = self._skipped.pop(key, (0, ""))
        if number:
            more = f" (and {number - 1} more in {_INTERVAL_SECONDS:g} s)" if number > 1 else ""
            self.emit(key[0], detail + more)
