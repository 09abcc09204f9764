"""How a running service differs from a contract, by its record in the registry."""

from __future__ import annotations

from collections.abc import Iterator

from micro.handlers.contract import Contract
from micro.handlers.schema import endpoint_record
from micro.registry import EndpointRecord, ServiceRecord, ValueRecord

__all__ = ["differences"]

_NOTHING = ValueRecord(name="Empty", type="Empty")


def differences(contract: Contract, record: ServiceRecord) -> list[str]:
    """The differences of a service from a contract, one a line; empty when it keeps to it.

    Endpoints that the contract does not name are no difference.
    """
    served = {each.name: each for each in record.endpoints if "subscriber" not in each.metadata}
    found: list[str] = []
    for method in contract.methods:
        wanted = endpoint_record(method.as_endpoint())
        got = served.get(wanted.name)
        if got is None:
            found.append(f"{wanted.name} is missing")
            continue
        found += [f"{wanted.name}: {text}" for text in _compare(wanted, got)]
    return found


def _compare(wanted: EndpointRecord, got: EndpointRecord) -> Iterator[str]:
    kinds = [each.metadata.get("kind", "call") for each in (wanted, got)]
    # go-micro tells of a stream that it is one, not of which kind.
    if "stream" in got.metadata and "kind" not in got.metadata and kinds[0] != "call":
        return
    if kinds[0] != kinds[1]:
        yield f"the service has a {_words(kinds[1])}, the contract a {_words(kinds[0])}"
        return
    if kinds[0] != "call":
        for what in ("request", "response"):
            yield from _unequal(what, wanted.metadata.get(what, ""), got.metadata.get(what, ""))
        return
    yield from _compare_values("request", wanted.request or _NOTHING, got.request or _NOTHING)
    yield from _compare_values("response", wanted.response or _NOTHING, got.response or _NOTHING)
    yield from _compare_required(wanted, got)


def _compare_values(place: str, wanted: ValueRecord, got: ValueRecord) -> Iterator[str]:
    yield from _unequal(place, wanted.type, got.type)
    fields = {each.name: each for each in got.values}
    for each in wanted.values:
        inner = fields.pop(each.name, None)
        if inner is None:
            yield f"{place}.{each.name} is missing at the service"
        else:
            yield from _compare_values(f"{place}.{each.name}", each, inner)
    for name in fields:
        yield f"{place}.{name} is not in the contract"


def _compare_required(wanted: EndpointRecord, got: EndpointRecord) -> Iterator[str]:
    ours, theirs = (set(each.metadata.get("required", "").split(",")) for each in (wanted, got))
    for name in sorted(theirs - ours - {""}):
        yield f"request.{name} is required by the service, not by the contract"


def _unequal(place: str, wanted: str, got: str) -> Iterator[str]:
    if wanted != got:
        yield f"{place} is {got} at the service, {wanted} in the contract"


def _words(kind: str) -> str:
    return kind.replace("_", " ")
