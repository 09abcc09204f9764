"""Registries: which nodes serve which service."""

from micro.registry.contract import Registration, Registry, Watch
from micro.registry.record import EndpointRecord, Node, ServiceRecord, ValueRecord

__all__ = [
    "EndpointRecord",
    "Node",
    "Registration",
    "Registry",
    "ServiceRecord",
    "ValueRecord",
    "Watch",
]
