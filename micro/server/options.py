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
