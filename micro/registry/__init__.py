"""Registries: which nodes serve which service."""

from micro.registry.contract import Registration, Registry, Watch
from micro.registry.latest import LatestRecords, check_interval
from micro.registry.record import EndpointRecord, Node, ServiceRecord, ValueRecord

__all__ = [
    "EndpointRecord",
    "LatestRecords",
    "Node",
    "Registration",
    "Registry",
    "ServiceRecord",
    "ValueRecord",
    "Watch",
    "check_interval",
]
