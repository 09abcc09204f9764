"""Names on the server, and what the server writes into reply subjects."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from micro.errors import BadRequest, InvalidName
from micro.message import Message
from micro_nats.jetstream.messages import (
    own_headers,
    read_ack_subject,
    read_stored,
    read_time,
    stored_headers,
    write_time,
)
from micro_nats.jetstream.names import Names, check_durable, consumer_name, durable_of

PLACE = read_ack_subject("$JS.ACK.S.c.3.17.21.1795820081420747500.5")


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.S.c.3.17.21.1795820081420747500.5",
        "$JS.ACK._.hash.S.c.3.17.21.1795820081420747500.5",
        "$JS.ACK.hub.hash.S.c.3.17.21.1795820081420747500.5.token",
    ],
)
def test_both_generations_of_reply_subjects_are_read(reply: str) -> None:
    place = read_ack_subject(reply)

    assert (place.deliveries, place.sequence, place.number, place.pending) == (3, 17, 21, 5)
    assert place.stored_at == 1795820081420747500


@pytest.mark.parametrize("reply", ["a", "$JS.ACK.S.c.1.2.3", "$JS.ACK.S.c.x.17.21.17.5", "..." * 9])
def test_another_reply_subject_is_refused(reply: str) -> None:
    with pytest.raises(BadRequest):
        read_ack_subject(reply)


def test_streams_are_named_by_topic_and_namespace() -> None:
    assert Names().stream("orders.created") == "micro_orders_created"
    assert Names(namespace="shop").stream("orders.created") == "micro_shop_orders_created"
    assert Names(namespace="shop").subject("a", 3) == "shop.a.p3"
    assert Names().returns not in {Names().stream("returns"), Names().later}


@pytest.mark.parametrize("partition", [None, 0, 31])
def test_the_partition_is_read_from_every_kind_of_subject(partition: int | None) -> None:
    names = Names(namespace="p1")
    subjects = [
        names.subject("a.b", partition),
        names.returned("d-p7", "a.b", partition),
        names.late("a.b", partition),
    ]

    assert [names.partition_of("a.b", each) for each in subjects] == [partition] * 3


def test_a_partition_belongs_to_its_durable() -> None:
    assert durable_of(consumer_name("mail_p3", 7)) == "mail_p3"
    assert durable_of(consumer_name("mail_p3")) == "mail_p3"
    with pytest.raises(InvalidName):
        check_durable("mail=p3")


def test_orders_to_the_server_are_neither_sent_nor_shown() -> None:
    message = Message({"Nats-Rollup": "all", "NATS-TTL": "1", "Content-Type": "x"}, b"")
    sent = stored_headers(message, "1", unique="1", stream="S")

    assert sent == {"Content-Type": "x", "Nats-Msg-Id": "1", "Nats-Expected-Stream": "S"}
    assert own_headers(sent) == {"Content-Type": "x"}


def test_an_event_without_an_id_is_named_by_its_place() -> None:
    stored = read_stored("a", None, b"{}", PLACE, None)

    assert (stored.id, stored.sequence, stored.message) == ("a:17", 17, Message({}, b"{}"))
    assert stored.stored_at.microsecond == 420747


def test_times_are_read_as_go_writes_them() -> None:
    expected = datetime(2026, 11, 27, 1, 2, 3, 123456, tzinfo=UTC)

    assert read_time("2026-11-27T01:02:03.123456789Z") == expected
    assert read_time("2026-11-27T02:02:03.123456+01:00") == expected
    assert read_time("2026-11-27T01:02:03.1Z").microsecond == 100000
    assert read_time("2026-11-27T01:02:03Z").microsecond == 0
    assert read_time(write_time(expected)) == expected
