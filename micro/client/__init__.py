"""The client: calls, streams and events, sent to services by their names."""

from micro.client.client import DEFAULT, Client, ClientOptions, Fallback
from micro.client.selector import Strategy, Where
from micro.client.stream import ClientStream

__all__ = [
    "DEFAULT",
    "Client",
    "ClientOptions",
    "ClientStream",
    "Fallback",
    "Strategy",
    "Where",
]
