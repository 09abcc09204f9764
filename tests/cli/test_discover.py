"""What `micro describe` shows of a record."""

from __future__ import annotations

from micro.cli.discover import _page, _summary
from micro.registry import EndpointRecord, Node, ServiceRecord, ValueRecord

AWARD = ValueRecord(
    name="Award",
    type="Award",
    values=(ValueRecord(name="user", type="string"), ValueRecord(name="note", type="string")),
)
RECORD = ServiceRecord(
    name="points",
    version="1.0.0",
    endpoints=(
        EndpointRecord(
            name="Points.Award",
            request=AWARD,
            response=AWARD,
            metadata={"description": "Give points to a user.", "required": "user", "x": "y"},
        ),
        EndpointRecord(
            name="on_order",
            request=AWARD,
            metadata={"subscriber": "true", "topic": "orders.created"},
        ),
    ),
    nodes=(Node(id="points-1", address="a"),),
)


def test_required_fields_and_docstrings_are_shown_once() -> None:
    page = _page(RECORD)

    assert "Award{user* string, note string}" in page
    assert page.count("Give points to a user.") == 1
    assert "required=" not in page


def test_topics_have_a_table_of_their_own() -> None:
    endpoints, topics = _page(RECORD).split("TOPIC")

    assert "Points.Award" in endpoints
    assert "x=y" in endpoints
    assert "on_order" not in endpoints
    assert topics.split("\n")[1].startswith("orders.created  on_order")


def test_subscribers_are_not_counted_as_endpoints() -> None:
    assert _summary(RECORD) == ("points", "1.0.0", "1", "1")
