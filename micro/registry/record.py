"""What a registry knows of a service: go-micro's records (go-micro `registry/registry.go`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

__all__ = ["EndpointRecord", "Node", "ServiceRecord", "ValueRecord", "merge_records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One running instance.

    Attributes:
        id: `<service>-<server id>`; unique unless somebody starts two instances with one id, so
            that nodes are told apart by their addresses as well.
        address: Where its listener can be dialled; opaque to all but the transport.
        metadata: Text to text; `protocol`, `transport` and the like tell how to speak to it.
    """

    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the service's other nodes: its id and address."""
        return self.id, self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRecord:
    """The shape of a request or response, as a tree at most three levels deep."""

    name: str
    type: str
    values: tuple[ValueRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRecord:
    """One endpoint; metadata `stream=true` marks a stream, `subscriber=true` a subscriber."""

    name: str
    request: ValueRecord | None = None
    response: ValueRecord | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecord:
    """One version of a service and the nodes that run it."""

    name: str
    version: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    endpoints: tuple[EndpointRecord, ...] = ()
    nodes: tuple[Node, ...] = ()


def merge_records(records: Iterable[ServiceRecord]) -> tuple[ServiceRecord, ...]:
    """Merge by name, version, node id and address, the later one winning.

    Sorted by name and version, the nodes by id and address.
    """
    services: dict[tuple[str, str], ServiceRecord] = {}
    nodes: dict[tuple[str, str], dict[tuple[str, str], Node]] = {}
    for record in records:
        key = (record.name, record.version)
        services[key] = record
        nodes.setdefault(key, {}).update((node.key, node) for node in record.nodes)
    return tuple(
        replace(services[key], nodes=tuple(sorted(nodes[key].values(), key=lambda n: n.key)))
        for key in sorted(services)
    )
