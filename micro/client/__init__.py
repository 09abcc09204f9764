"""The client: calls, streams and events, sent to services by their names."""

from micro.client.breaker import BreakerState
from micro.client.client import Client
from micro.client.node import NodeInfo
from micro.client.options import (
    DEFAULT,
    CallOptions,
    ClientOptions,
    Fallback,
    StreamOptions,
    UseDefault,
)
from micro.client.selector import Strategy, Where
from micro.client.stream import ClientStream

__all__ = [
    "DEFAULT",
    "BreakerState",
    "CallOptions",
    "Client",
    "ClientOptions",
    "ClientStream",
    "Fallback",
    "NodeInfo",
    "Strategy",
    "StreamOptions",
    "UseDefault",
    "Where",
]
