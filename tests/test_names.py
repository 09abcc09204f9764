from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from micro.errors import BadRequest, InvalidName, UsageError
from micro.names import (
    check_endpoint,
    check_pattern,
    check_queue,
    check_service,
    check_topic,
    topic_matches,
)

HOSTILE = [
    "",
    " ",
    "a b",
    " a",
    "a ",
    "a\n",
    "a\r\nPUB b 0",
    "a\tb",
    "a\x00",
    "a\x7f",
    "a\x85b",
    "a\u00a0b",
    "a\u2028b",
    "a..b",
    ".a",
    "a.",
    ".",
    "x" * 256,
    "é" * 128,
    ".".join("a" * 17),
    "\ud800",
]

tokens = st.text(st.sampled_from("ab1_-é☃*>"), min_size=1, max_size=3)
plain_tokens = st.text(st.sampled_from("abcé"), min_size=1, max_size=2)
topics = st.lists(plain_tokens, min_size=1, max_size=6).map(".".join)
patterns = st.builds(
    lambda middle, rest: ".".join([*middle, *rest]),
    st.lists(st.one_of(plain_tokens, st.just("*")), min_size=1, max_size=5),
    st.sampled_from([[], [">"]]),
)


@pytest.mark.parametrize(
    "name", ["points", "a", "A-b_c", "go.micro.srv.points", "1", "-", "x" * 255]
)
def test_a_service_can_have_the_name(name: str) -> None:
    assert check_service(name) == name


@pytest.mark.parametrize("name", [*HOSTILE, "*", "a.*", ">", "é", "a/b", "a:b", "a@1"])
def test_a_service_cannot_have_the_name(name: str) -> None:
    with pytest.raises(InvalidName):
        check_service(name)


@pytest.mark.parametrize("name", ["Points.Award", "a.b", "_a._b", "A1.B2", f"A.{'b' * 253}"])
def test_an_endpoint_can_have_the_name(name: str) -> None:
    assert check_endpoint(name) == name


@pytest.mark.parametrize(
    "name", [*HOSTILE, "Points", "a.b.c", "1a.b", "a.1b", "a-b.c", "é.b", "a.*", "A.B\n"]
)
def test_an_endpoint_cannot_have_the_name(name: str) -> None:
    with pytest.raises(InvalidName):
        check_endpoint(name)


@pytest.mark.parametrize(
    "topic", ["a", "orders.created", "$SYS", "_INBOX.x", "é.☃", "a*b", "a>", "x" * 255]
)
def test_a_topic_can_be_published_on(topic: str) -> None:
    assert check_topic(topic) == topic


@pytest.mark.parametrize("topic", [*HOSTILE, "*", ">", "a.*", "a.>", "*.a", "a.>.b"])
def test_a_topic_cannot_be_published_on(topic: str) -> None:
    with pytest.raises(InvalidName):
        check_topic(topic)


@pytest.mark.parametrize("pattern", ["a", "*", ">", "a.*", "a.>", "*.*.>", "a*", "a.b*.c"])
def test_a_pattern_can_be_subscribed_to(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", [*HOSTILE, ">.a", "a.>.b"])
def test_a_pattern_cannot_be_subscribed_to(pattern: str) -> None:
    with pytest.raises(InvalidName):
        check_pattern(pattern)


@pytest.mark.parametrize(("pattern", "word"), [("a.#", "'>'"), ("+.a", "'*'"), ("#", "'>'")])
def test_wildcards_of_mqtt_and_amqp_are_refused(pattern: str, word: str) -> None:
    with pytest.raises(InvalidName, match=re.escape(word)):
        check_pattern(pattern)


@pytest.mark.parametrize("queue", ["points", "a.b", "é"])
def test_a_queue_can_have_the_name(queue: str) -> None:
    assert check_queue(queue) == queue


@pytest.mark.parametrize("queue", [*HOSTILE, "*", "a*", ">", "a.>"])
def test_a_queue_cannot_have_the_name(queue: str) -> None:
    with pytest.raises(InvalidName):
        check_queue(queue)


def test_a_bad_name_is_a_usage_error_and_a_bad_request() -> None:
    assert issubclass(InvalidName, UsageError)
    assert issubclass(InvalidName, BadRequest)
    assert InvalidName("x").code == 400


@pytest.mark.parametrize(
    ("pattern", "topic", "matches"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        (">", "a", True),
        (">", "a.b.c", True),
        ("a.>", "a", False),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "b.b", False),
        ("*.>", "a", False),
        ("*.>", "a.b", True),
        ("a*", "ab", False),
        ("a*", "a*", True),
    ],
)
def test_a_pattern_receives_a_topic(pattern: str, topic: str, matches: bool) -> None:
    assert topic_matches(pattern, topic) is matches


@given(patterns, topics)
def test_matching_is_what_a_regular_expression_says(pattern: str, topic: str) -> None:
    parts = [re.escape(token) for token in pattern.split(".")]
    parts = [{r"\*": r"[^.]+", ">": r".+"}.get(part, part) for part in parts]
    expected = re.fullmatch(r"\.".join(parts), topic) is not None

    assert topic_matches(pattern, topic) is expected


@given(topics)
def test_a_topic_receives_itself(topic: str) -> None:
    assert topic_matches(check_pattern(topic), check_topic(topic))


@given(topics, topics)
def test_a_plain_topic_receives_no_other(one: str, other: str) -> None:
    assume(one != other)

    assert not topic_matches(one, other)


@given(st.text(max_size=300))
def test_an_accepted_name_is_safe_in_a_line_of_the_protocol(name: str) -> None:
    for check in (check_service, check_endpoint, check_topic, check_pattern, check_queue):
        if (told := refusal(check, name)) is None:
            assert len(name.encode()) <= 255
            assert name.split() == [name]
            assert all(name.split("."))
        else:
            assert told.isprintable()


@given(st.lists(tokens, min_size=1, max_size=4).map(".".join))
def test_every_topic_is_a_pattern_as_well(name: str) -> None:
    assume(refusal(check_topic, name) is None)

    assert refusal(check_pattern, name) is None


def refusal(check: Callable[[str], str], name: str) -> str | None:
    try:
        check(name)
    except InvalidName as error:
        return str(error)
    return None
