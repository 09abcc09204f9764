"""The NATS plugin: transport, broker and registry over one connection."""

from __future__ import annotations

from micro_nats.backend import NatsBackend, open_nats

__all__ = ["NatsBackend", "open_nats"]
