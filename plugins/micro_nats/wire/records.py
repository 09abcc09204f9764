"""Registry records as go-micro writes them in JSON (go-micro `registry/registry.go`).

Keys are read in any case, `null` and missing alike, since Go does. What others announce may be
anything: bounds keep a hostile record from costing more than its bytes.
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
"""Node metadata that says for how long an announcement holds; never seen by users."""

_DEEPEST = 4
_MOST = 10_000
_SMALL = 64 << 10
# Bytes to a comma or bracket: the shortest that any writer has need of is ten.
_LEAST_SHARE = 8
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A record, and for how long it holds.

    Attributes:
        record: The service.
        ttl: Seconds, or `None` when its sender did not say.
    """

    record: ServiceRecord
    ttl: float | None = None


def encode_service(record: ServiceRecord, *, ttl: float | None = None) -> bytes:
    """Write a service, as an answer to a query."""
    return go_json(_service(record, ttl))


def encode_result(action: str, record: ServiceRecord | None, *, ttl: float | None = None) -> bytes:
    """Write a query or an announcement; the actions are get, list, create and delete."""
    service = None if record is None else _service(record, ttl)
    return go_json({"Service": service, "Action": action})


def decode_service(data: bytes) -> Announcement:
    """Read a service.

    Raises:
        CodecError: it is none.
    """
    return _read_service(_fields(_parse(data)))


def decode_result(data: bytes) -> tuple[str, Announcement | None]:
    """Read a query or announcement: its action, and its service if it has one.

    Raises:
        CodecError: it is neither.
    """
    fields = _fields(_parse(data))
    service = fields.get("service")
    action = _text(fields.get("action"))
    return action, None if service is None else _read_service(_fields(service))


# Writing: the order of keys is that of Go's structs.


def _service(record: ServiceRecord, ttl: float | None) -> dict[str, object]:
    return {
        "name": record.name,
        "version": record.version,
        "metadata": _sorted(record.metadata) or None,
        "endpoints": [_endpoint(each) for each in record.endpoints] or None,
        "nodes": [_node(each, ttl) for each in record.nodes] or None,
    }


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
    if len(data) > _SMALL:
        parts = sum(data.count(mark) for mark in (b",", b"[", b"{"))
        if parts > len(data) // _LEAST_SHARE:
            raise CodecError("a record has more parts than it could need")
    try:
        return from_json(data)
    except ValueError as error:
        raise CodecError(f"a record that is not JSON: {error}") from None


def _read_service(fields: Mapping[str, Any]) -> Announcement:
    name = _text(fields.get("name"))
    if not 0 < len(name) <= _LONGEST_NAME:
        raise CodecError("a record's service has no usable name")
    nodes = [_read_node(each) for each in _items(fields.get("nodes"))]
    # Without an address a node cannot be called, without an id not told from others.
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
    try:
        seconds = float(ttl)
    except ValueError:
        return node, None
    return node, seconds if 0 < seconds < 86_400 else None


def _read_endpoint(fields: Mapping[str, Any]) -> EndpointRecord:
    return EndpointRecord(
        name=_text(fields.get("name")),
        request=_read_value(fields.get("request"), _DEEPEST),
        response=_read_value(fields.get("response"), _DEEPEST),
        metadata=_texts(fields.get("metadata")),
    )


def _read_value(value: object, depth: int) -> ValueRecord | None:
    """Read a tree of values; what is deeper than any writer goes is cut off."""
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


def _items(value: object) -> Iterable[dict[str, Any]]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MOST:
        raise CodecError("a record's list must be a JSON array of sensible length")
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
