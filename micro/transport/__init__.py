"""Transports: sockets between a client and one node."""

from micro.transport.contract import Listener, Receiver, Socket, Transport

__all__ = ["Listener", "Receiver", "Socket", "Transport"]
