"""How topics are kept: what can be written, and what is refused with its line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from micro.broker.keep import Keep, Queue
from micro.errors import HandlerError, UsageError
from micro.topic import Topic, kept_topic, kept_topics


def test_an_age_as_text_is_a_topic_with_a_limit_of_bytes() -> None:
    spec = Topic("keep.age", int, keep="7d").spec

    assert (spec.age, spec.bytes, spec.full, spec.dedup) == (604_800, 1 << 30, "refuse", 120)


@pytest.mark.parametrize("age", ["1d", 86_400, timedelta(days=1)])
def test_a_duration_is_text_a_number_or_a_timedelta(age) -> None:
    assert Keep(age).age == 86_400


def test_sizes_and_counts_are_read() -> None:
    keep = Keep(None, bytes="2MiB", messages=5, replicas=3, full="discard_old", stream="ORDERS")

    assert (keep.age, keep.bytes, keep.messages, keep.replicas) == (0, 2 << 20, 5, 3)
    assert keep.spec("a").place == "ORDERS"


def test_a_queue_is_a_work_queue_that_refuses_when_full() -> None:
    spec = Topic("keep.jobs", int, keep=Queue(messages=10)).spec

    assert (spec.work, spec.messages, spec.full, spec.age) == (True, 10, "refuse", 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"age": "7 days"}, "age must be a duration such as '7d'"),
        ({"age": 0}, "age must be a duration"),
        ({"bytes": "a lot"}, "bytes must be a size such as '1GiB'"),
        ({"messages": 0}, "messages must be a whole number"),
        ({"full": "drop"}, "full must be 'refuse' or 'discard_old'"),
        ({"replicas": 7}, "replicas must be 'auto'"),
        ({"stream": ""}, "stream must be the name"),
        ({"dedup": -1}, "dedup must be a duration"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_line(options, text) -> None:
    with pytest.raises(HandlerError, match=rf"test_keep\.py:\d+: {text}"):
        Keep(**options)


def test_a_topic_names_what_it_takes_as_keep() -> None:
    with pytest.raises(HandlerError, match=r"test_keep\.py:\d+: keep of topic 'a' must be an age"):
        Topic("a", int, keep=7)  # type: ignore[call-overload]


def test_the_names_of_the_frameworks_own_topics_are_refused() -> None:
    with pytest.raises(HandlerError, match="topic of the framework"):
        Topic("dead", int, keep="7d")


def test_a_plain_topic_has_no_way_to_be_kept() -> None:
    with pytest.raises(UsageError, match="is not kept: write keep='7d'"):
        Topic("keep.plain", int).spec  # noqa: B018


def test_a_kept_topic_is_found_by_its_name_while_it_lives() -> None:
    topic = Topic("keep.found", int, keep="1d")
    twin = Topic("keep.found", int, keep="1d")

    assert kept_topic("keep.found") == topic == twin
    assert kept_topics().count(topic) == 1
    del topic, twin
    assert kept_topic("keep.found") is None


def test_two_ways_to_keep_one_topic_are_refused_with_both_places() -> None:
    topics = Topic("keep.two", int, keep="1d"), Topic("keep.two", int, keep="2d")

    with pytest.raises(UsageError, match=r"test_keep\.py:\d+ has .*test_keep\.py:\d+ has "):
        kept_topic(topics[0].name)


@pytest.mark.parametrize("upcast", [{2: int}, {0: int}, {1: "f"}])
def test_an_upcast_that_cannot_be_used_is_refused_with_its_line(upcast) -> None:
    with pytest.raises(HandlerError, match=r"test_keep\.py:\d+: upcast of topic 'a'"):
        Topic("a", int, version=2, upcast=upcast)
