"""The subjects of go-micro's discovery, of both its generations, and a quick look at a message."""

from __future__ import annotations

__all__ = ["QUERY_TOPICS", "WATCH_TOPICS", "name_in"]

QUERY_TOPICS = ("micro.registry.nats.query", "micro.nats.query")
WATCH_TOPICS = ("micro.registry.nats.watch", "micro.nats.watch")

_NAME = b'"name":"'


def name_in(data: bytes) -> str | None:
    """The service's name in a message that Go or this framework wrote, without reading all of it.

    Every Go writer puts the service's name before all other names. `None` when it is not found.
    """
    at = data.find(_NAME, 0, 64)
    if at < 0:
        return None
    end = data.find(b'"', at + len(_NAME))
    name = data[at + len(_NAME) : end]
    return name.decode() if name.isascii() and b"\\" not in name else None
