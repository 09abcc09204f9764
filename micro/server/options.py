"""A server's bounds and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from micro.middleware import Layer

__all__ = ["ServerOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Bounds and layers of a server.

    Attributes:
        max_concurrency: Unary calls that run at once.
        max_streams: Streams that run at once.
        max_queue: Calls that may wait at each bound, as long as they hold no more than 32 MiB; the
            next one is refused at once with 429.
        threads: Plain `def` handlers that run at once.
        timeout: Seconds that a call may run whose client set no limit; streams have none.
        access_log: Whether to log a line for each call.
        middleware: Layers round every handler, the first outermost.
    """

    max_concurrency: int = 1024
    max_streams: int = 1024
    max_queue: int = 1024
    threads: int = 32
    timeout: float = 60.0
    access_log: bool = False
    middleware: Sequence[Layer] = ()
