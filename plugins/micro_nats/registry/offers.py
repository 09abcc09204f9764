"""What the nodes of one service offer, each different offer kept once and within a bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from micro.registry.record import EndpointRecord, ServiceRecord, ValueRecord

__all__ = ["MAX_PARTS", "Offers"]

MAX_PARTS = 20_000
"""Endpoints and values of all offers of one service: about 6 MB, and 20 ms to build the set."""
MAX_OFFER_PARTS = 2_000
"""An offer with more is kept without its types, which callers do not need."""


class Offers:
    """Offers: records without their nodes. Nodes of one release share one."""

    def __init__(self) -> None:
        self._parts: dict[ServiceRecord, int] = {}
        self._kept: dict[ServiceRecord, ServiceRecord] = {}
        self._total = 0

    def intern(self, record: ServiceRecord) -> ServiceRecord:
        """The offer that equals a record's; beyond the bound one that names no endpoints."""
        offer = replace(record, nodes=())
        known = self._kept.get(offer)
        if known is not None:
            return known
        parts = 1 + len(offer.metadata) + sum(map(_parts_of, offer.endpoints))
        if parts > MAX_OFFER_PARTS and parts > 1 + len(offer.metadata) + _plain_parts(offer):
            return self.intern(_without_types(offer))
        if self._total + parts > MAX_PARTS and parts > 1:
            return self.intern(replace(offer, endpoints=(), metadata={}))
        self._total += parts
        self._parts[offer] = parts
        self._kept[offer] = offer
        return offer

    def retain(self, offers: Iterable[ServiceRecord]) -> None:
        """Forget the offers that are not among these."""
        used = {id(offer) for offer in offers}
        for offer in [each for each in self._kept if id(each) not in used]:
            del self._kept[offer]
            self._total -= self._parts.pop(offer)


def _parts_of(endpoint: EndpointRecord) -> int:
    return 1 + len(endpoint.metadata) + _values_in(endpoint.request) + _values_in(endpoint.response)


def _values_in(value: ValueRecord | None) -> int:
    return 0 if value is None else 1 + sum(map(_values_in, value.values))


def _plain_parts(offer: ServiceRecord) -> int:
    return sum(1 + len(endpoint.metadata) for endpoint in offer.endpoints)


def _without_types(offer: ServiceRecord) -> ServiceRecord:
    endpoints = [replace(each, request=None, response=None) for each in offer.endpoints]
    return replace(offer, endpoints=tuple(endpoints))
