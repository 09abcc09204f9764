"""Transports: sockets between a client and one node."""

from micro.transport.contract import Accept, Listener, Receiver, Socket, Transport

__all__ = ["Accept", "Listener", "Receiver", "Socket", "Transport"]
