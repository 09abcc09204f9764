"""What a registry knows about a service: go-micro's records (go-micro `registry/registry.go`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

__all__ = [
    "EndpointRecord",
    "Node",
    "ServiceRecord",
    "ValueRecord",
    "group_nodes",
    "merge_records",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One running instance.

    Attributes:
        id: `<service>-<server id>`. Two instances may be started with one id by mistake, so nodes
            are told apart by their addresses as well.
        address: Where its listener can be dialled; only the transport reads it.
        metadata: Text to text; `protocol`, `transport` and the like tell how to speak to it.
    """

    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[str, str]:
        """The id and address, which identify it among the service's nodes."""
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
    """One version of a service and the nodes that run it and offer the same endpoints."""

    name: str
    version: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    endpoints: tuple[EndpointRecord, ...] = ()
    nodes: tuple[Node, ...] = ()


def merge_records(records: Iterable[ServiceRecord]) -> tuple[ServiceRecord, ...]:
    """Put nodes whose records say the same into one record; the later of two for a node wins.

    A node is known by name, version, id and address. Nodes of one version whose metadata or
    endpoints differ stay in records of their own: what one node offers says nothing about another.
    Sorted by name and version, the nodes by id and address.
    """
    empty: dict[tuple[str, str], ServiceRecord] = {}
    nodes: dict[tuple[str, str, str, str], tuple[ServiceRecord, Node]] = {}
    for record in records:
        offer = replace(record, nodes=())
        empty.setdefault((record.name, record.version), offer)
        for node in record.nodes:
            nodes[(record.name, record.version, *node.key)] = (offer, node)
    groups = group_nodes(nodes[key] for key in sorted(nodes))
    found = {(group.name, group.version) for group in groups}
    groups += [offer for key, offer in empty.items() if key not in found]
    return tuple(sorted(groups, key=lambda group: (group.name, group.version)))


def group_nodes(nodes: Iterable[tuple[ServiceRecord, Node]]) -> list[ServiceRecord]:
    """Group nodes by what their records say; groups and nodes keep the order given.

    Args:
        nodes: Nodes, each with its record, which has no nodes itself.
    """
    groups: dict[ServiceRecord, list[Node]] = {}
    known: dict[int, list[Node]] = {}
    for offer, node in tuple(nodes):
        # Hashing an offer reads all its endpoints, so one that many nodes share is hashed once.
        group = known.get(id(offer))
        if group is None:
            group = known[id(offer)] = groups.setdefault(offer, [])
        group.append(node)
    return [replace(offer, nodes=tuple(group)) for offer, group in groups.items()]
