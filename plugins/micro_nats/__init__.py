"""The NATS plugin: transport, broker and registry over one connection.

`open_nats` is what the entry point `nats` names; `run_server` starts a real nats-server for
development. nats-py is imported when the first of its users is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro_nats.backend import NatsBackend, open_nats
    from micro_nats.connection.connection import Connection, Subscription, open_connection
    from micro_nats.devserver import NatsServer, find_server, run_server

__all__ = [
    "Connection",
    "NatsBackend",
    "NatsServer",
    "Subscription",
    "find_server",
    "open_connection",
    "open_nats",
    "run_server",
]

_HOMES = {
    "Connection": "connection.connection",
    "NatsBackend": "backend",
    "NatsServer": "devserver",
    "Subscription": "connection.connection",
    "find_server": "devserver",
    "open_connection": "connection.connection",
    "open_nats": "backend",
    "run_server": "devserver",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
