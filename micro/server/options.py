"""A server's bounds, and what it has counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from micro.middleware import Layer

__all__ = ["ServerCounters", "ServerOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Bounds and layers of a server.

    Attributes:
        max_concurrency: How many calls may run at once.
        max_queue: How many more may wait, as long as they hold no more than 32 MiB; the next is
            refused at once with 429.
        threads: How many plain `def` handlers may run at once.
        timeout: Seconds that a call may run whose client set no limit; streams have none.
        middleware: Layers round every handler, the first outermost.
    """

    max_concurrency: int = 1024
    max_queue: int = 1024
    threads: int = 32
    timeout: float = 60.0
    middleware: Sequence[Layer] = ()


@dataclass(slots=True)
class ServerCounters:
    """What a server has counted since it started; each only grows.

    Attributes:
        handled: Calls that were run, whatever came of them.
        failed: Calls that ended in an error.
        refused: Requests that were turned away: no room, no such endpoint, or stopping.
        expired: Requests that were dropped because their deadline had passed.
        garbage: Frames that made no sense.
        late: Frames for calls that had ended.
        duplicates: Requests with the id of a call that was still running.
        unsent: Replies that could not be sent.
    """

    handled: int = 0
    failed: int = 0
    refused: int = 0
    expired: int = 0
    garbage: int = 0
    late: int = 0
    duplicates: int = 0
    unsent: int = 0
