"""The server: runs a handler for each request, within bounds, and answers whatever happens."""

from micro.server.options import ServerOptions
from micro.server.server import Server

__all__ = ["Server", "ServerOptions"]
