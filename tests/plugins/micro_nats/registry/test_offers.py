"""What the nodes of a service offer, kept within a bound."""

from __future__ import annotations

from micro.registry.record import EndpointRecord, Node, ServiceRecord, ValueRecord
from micro_nats.registry.offers import MAX_OFFER_PARTS, MAX_PARTS, Offers


def record(endpoints: int, version: str = "1", type_: ValueRecord | None = None) -> ServiceRecord:
    return ServiceRecord(
        name="points",
        version=version,
        endpoints=tuple(
            EndpointRecord(name=f"Points.E{number}", request=type_) for number in range(endpoints)
        ),
        nodes=(Node(id="a", address="at.a"),),
    )


def test_equal_offers_are_kept_once() -> None:
    offers = Offers()

    assert offers.intern(record(3)) is offers.intern(record(3))
    assert offers.intern(record(3)).nodes == ()


def test_a_large_offer_is_kept_without_its_types() -> None:
    offers = Offers()
    endpoints = MAX_OFFER_PARTS - 10
    kept = offers.intern(record(endpoints, type_=ValueRecord(name="a", type="A")))

    assert len(kept.endpoints) == endpoints
    assert kept.endpoints[0].request is None


def test_offers_beyond_the_bound_name_no_endpoints() -> None:
    offers = Offers()
    kept = [offers.intern(record(MAX_PARTS // 4, str(number))) for number in range(6)]

    assert [len(each.endpoints) > 0 for each in kept] == [True] * 3 + [False] * 3


def test_offers_that_no_node_has_make_place_for_others() -> None:
    offers = Offers()
    for number in range(20):
        kept = offers.intern(record(MAX_PARTS // 2, str(number)))
        assert kept.endpoints
        offers.retain([])
