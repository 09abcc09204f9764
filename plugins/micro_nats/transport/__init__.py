"""Sockets over NATS: listeners, unique reply subjects, bundles."""
