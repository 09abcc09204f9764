"""Making a registry record fit one NATS message by leaving out what callers need least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from micro.errors import CodecError, ConfigError, PayloadTooLarge
from micro.registry.record import EndpointRecord, ServiceRecord, ValueRecord
from micro_nats.wire.records import MAX_DEPTH, decode_result, encode_result, encode_service

__all__ = ["Messages", "fit"]

# Of an endpoint's metadata, what no client needs for a call.
_FOR_PEOPLE = ("description", "required", "raises")


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """What a registration sends, written once.

    Attributes:
        answer: The answer to a query.
        announcement: What says that the nodes are there.
        reduced: Whether types of endpoints had to be left out.
    """

    answer: bytes
    announcement: bytes
    reduced: bool


def fit(record: ServiceRecord, *, ttl: float | None, limit: int) -> Messages:
    """Write a record's messages, with as much of its types as fit.

    Args:
        record: The service with its nodes.
        ttl: How long an announcement is valid, to say so.
        limit: The most bytes of one message.

    Raises:
        PayloadTooLarge: the record does not fit even without types.
        ConfigError: others would refuse to read it.
    """
    for number, smaller in enumerate(_reductions(record)):
        announcement = encode_result("create", smaller, ttl=ttl)
        if len(announcement) <= limit:
            answer = encode_service(smaller, ttl=ttl)
            found = Messages(answer=answer, announcement=announcement, reduced=number > 0)
            return _check_readable(found)
    announcement = encode_result("create", smaller, ttl=ttl, compact=True)
    if len(announcement) > limit:
        raise PayloadTooLarge(
            f"the registry record of {record.name!r} with {len(record.endpoints)} endpoints takes"
            f" {len(announcement)} bytes without its types; the server's limit is {limit}"
        )
    answer = encode_service(smaller, ttl=ttl, compact=True)
    return _check_readable(Messages(answer=answer, announcement=announcement, reduced=True))


def _check_readable(messages: Messages) -> Messages:
    """Read a record as other processes will: what they refuse must not be announced."""
    try:
        decode_result(messages.announcement)
    except CodecError as error:
        raise ConfigError(f"the registry record cannot be used: {error.detail}") from None
    return messages


def _reductions(record: ServiceRecord) -> Iterator[ServiceRecord]:
    """The record with less and less of its types: fewer levels, then none, then no descriptions."""
    yield record
    for depth in range(MAX_DEPTH - 1, -1, -1):
        endpoints = tuple(_cut_endpoint(each, depth) for each in record.endpoints)
        yield replace(record, endpoints=endpoints)
    bare = tuple(replace(each, metadata=_without_text(each.metadata)) for each in endpoints)
    yield replace(record, endpoints=bare)


def _without_text(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key not in _FOR_PEOPLE}


def _cut_endpoint(endpoint: EndpointRecord, depth: int) -> EndpointRecord:
    request, response = _cut(endpoint.request, depth), _cut(endpoint.response, depth)
    return replace(endpoint, request=request, response=response)


def _cut(value: ValueRecord | None, depth: int) -> ValueRecord | None:
    if value is None or not depth:
        return None
    values = [_cut(each, depth - 1) for each in value.values]
    return replace(value, values=tuple(each for each in values if each is not None))
