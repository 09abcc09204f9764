"""Registry records as go-micro writes them in JSON (go-micro `registry/registry.go`).

Keys are read in any case, and `null` like a missing key, as Go does. Records come from other
processes, so bounds keep a hostile one from costing much more memory than its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from micro.errors import CodecError
from micro.registry.record import EndpointRecord, Node, ServiceRecord, ValueRecord
from micro_nats.wire.gojson import go_json

__all__ = ["Announcement", "decode_result", "decode_service", "encode_result", "encode_service"]

TTL_KEY = "micro-ttl"
"""Node metadata that says how long an announcement is valid; users never see it."""

MAX_TTL_SECONDS = 3600.0
"""A longer TTL is read as this one: a node that is there announces itself again long before."""

MAX_DEPTH = 4
MAX_ITEMS = 10_000
MAX_NODES_PER_RECORD = 256
"""A process announces its own nodes, which are one or a few."""
MAX_NAME_CHARS = 255
MAX_ADDRESS_CHARS = 1024
MAX_NODE_METADATA_CHARS = 8 << 10

_SMALL_BYTES = 64 << 10
# Bytes for each comma or bracket; the shortest that any writer needs is ten.
_MIN_BYTES_PER_PART = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A record, and how long it is valid.

    Attributes:
        record: The service.
        ttl: Seconds, or `None` when its sender did not say.
    """

    record: ServiceRecord
    ttl: float | None = None


def encode_service(
    record: ServiceRecord, *, ttl: float | None = None, compact: bool = False
) -> bytes:
    """Write a service, as an answer to a query.

    Args:
        record: The service.
        ttl: How long it is valid, in seconds, to say so.
        compact: Leave out what is empty, which Go writes as null and reads as the same.
    """
    return go_json(_service(record, ttl, compact))


def encode_result(
    action: str,
    record: ServiceRecord | None,
    *,
    ttl: float | None = None,
    compact: bool = False,
) -> bytes:
    """Write a query or an announcement; the actions are get, list, create and delete."""
    service = None if record is None else _service(record, ttl, compact)
    return go_json({"Service": service, "Action": action})


def decode_service(data: bytes) -> Announcement:
    """Read a service.

    Raises:
        CodecError: the data is not a service.
    """
    return _read_service(_fields(_parse(data)))


def decode_result(data: bytes) -> tuple[str, Announcement | None]:
    """Read a query or announcement: its action, and its service if it has one.

    Raises:
        CodecError: the data is neither.
    """
    fields = _fields(_parse(data))
    service = fields.get("service")
    action = _text(fields.get("action"))
    return action, None if service is None else _read_service(_fields(service))


# Writing: the order of keys is that of Go's structs.


def _service(record: ServiceRecord, ttl: float | None, compact: bool) -> dict[str, object]:
    endpoints = [_endpoint(each) for each in record.endpoints]
    fields: dict[str, object] = {
        "name": record.name,
        "version": record.version,
        "metadata": _sorted(record.metadata) or None,
        "endpoints": [_without_empty(each) for each in endpoints] if compact else endpoints or None,
        "nodes": [_node(each, ttl) for each in record.nodes] or None,
    }
    return _without_empty(fields) if compact else fields


def _without_empty(fields: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value}


def _node(node: Node, ttl: float | None) -> dict[str, object]:
    metadata = _sorted(node.metadata)
    if ttl is not None:
        metadata = _sorted({**metadata, TTL_KEY: f"{ttl:g}"})
    return {"metadata": metadata or None, "id": node.id, "address": node.address}


def _endpoint(endpoint: EndpointRecord) -> dict[str, object]:
    return {
        "request": _value(endpoint.request),
        "response": _value(endpoint.response),
        "metadata": _sorted(endpoint.metadata),
        "name": endpoint.name,
    }


def _value(value: ValueRecord | None) -> dict[str, object] | None:
    if value is None:
        return None
    values = [_value(each) for each in value.values] or None
    return {"name": value.name, "type": value.type, "values": values}


def _sorted(metadata: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(metadata.items()))


# Reading


def _parse(data: bytes) -> Any:
    if len(data) > _SMALL_BYTES:
        parts = sum(data.count(mark) for mark in (b",", b"[", b"{"))
        if parts > len(data) // _MIN_BYTES_PER_PART:
            raise CodecError("the record has too many parts for its size")
    try:
        return from_json(data)
    except ValueError as error:
        raise CodecError(f"the record is not JSON: {error}") from None


def _read_service(fields: Mapping[str, Any]) -> Announcement:
    name = _text(fields.get("name"))
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise CodecError("the record has no usable service name")
    nodes = [_read_node(each) for each in _items(fields.get("nodes"), MAX_NODES_PER_RECORD)]
    # A node without an address cannot be called, one without an id cannot be identified.
    nodes = [(node, ttl) for node, ttl in nodes if node.id and node.address]
    record = ServiceRecord(
        name=name,
        version=_text(fields.get("version")),
        metadata=_texts(fields.get("metadata")),
        endpoints=tuple(_read_endpoint(each) for each in _items(fields.get("endpoints"))),
        nodes=tuple(node for node, _ in nodes),
    )
    return Announcement(record=record, ttl=min((t for _, t in nodes if t), default=None))


def _read_node(fields: Mapping[str, Any]) -> tuple[Node, float | None]:
    metadata = _texts(fields.get("metadata"))
    ttl = metadata.pop(TTL_KEY, "")
    node = Node(id=_text(fields.get("id")), address=_text(fields.get("address")), metadata=metadata)
    if len(node.id) > MAX_ADDRESS_CHARS or len(node.address) > MAX_ADDRESS_CHARS:
        raise CodecError(f"a node's id or address is longer than {MAX_ADDRESS_CHARS} characters")
    if sum(len(k) + len(v) for k, v in metadata.items()) > MAX_NODE_METADATA_CHARS:
        raise CodecError(f"a node's metadata is longer than {MAX_NODE_METADATA_CHARS} characters")
    return node, _read_ttl(ttl)


def _read_ttl(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, MAX_TTL_SECONDS) if seconds > 0 else None


def _read_endpoint(fields: Mapping[str, Any]) -> EndpointRecord:
    return EndpointRecord(
        name=_text(fields.get("name")),
        request=_read_value(fields.get("request"), MAX_DEPTH),
        response=_read_value(fields.get("response"), MAX_DEPTH),
        metadata=_texts(fields.get("metadata")),
    )


def _read_value(value: object, depth: int) -> ValueRecord | None:
    """Read a tree of values; levels below MAX_DEPTH are cut off."""
    if value is None or not depth:
        return None
    fields = _fields(value)
    values = [_read_value(each, depth - 1) for each in _items(fields.get("values"))]
    return ValueRecord(
        name=_text(fields.get("name")),
        type=_text(fields.get("type")),
        values=tuple(each for each in values if each is not None),
    )


def _fields(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CodecError("a record's part must be a JSON object")
    return {key.lower(): each for key, each in value.items()}


def _items(value: object, limit: int = MAX_ITEMS) -> Iterable[dict[str, Any]]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > limit:
        raise CodecError(f"a record's list must be a JSON array of at most {limit} items")
    return [_fields(each) for each in value]


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CodecError("a record's text must be a JSON string")
    return value


def _texts(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CodecError("a record's metadata must be a JSON object")
    return {key: _text(each) for key, each in value.items()}
