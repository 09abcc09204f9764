"""What the types of settings accept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import ConfigError
from micro.settings.kinds import read_duration, show_size
from micro.settings.model import OPTIONS
from micro.settings.sources import Found

ANYTHING = st.one_of(
    st.text(),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.timedeltas(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
)
BY_NAME = {option.name: option for option in OPTIONS}


def read(name, value):
    return BY_NAME[name].read(Found(value, "argument x"))


@given(ANYTHING, st.sampled_from(OPTIONS))
def test_any_value_is_read_or_refused_and_reading_twice_changes_nothing(value, option) -> None:
    try:
        found = read(option.name, value)
    except ConfigError:
        return

    assert read(option.name, found) == found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("1h1m1s", 3661),
        ("10us", 1e-5),
        (" 2m ", 120),
        ("7d", 604_800),
        (timedelta(minutes=1), 60),
    ],
)
def test_durations_are_seconds(text, seconds) -> None:
    assert read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "size"),
    [("65536", 65_536), ("4KiB", 4096), ("64 MiB", 64 << 20), ("1GiB", 1 << 30), (2048, 2048)],
)
def test_sizes_are_bytes(value, size) -> None:
    assert read("max_body", value) == size


@pytest.mark.parametrize("value", ["-1", "1MB", "1.5MiB", "", "12", True, 1e6, "MiB", None])
def test_a_size_that_makes_no_sense_is_refused(value) -> None:
    with pytest.raises(ConfigError, match="expected a size, 1KiB or more"):
        read("max_body", value)


def test_sizes_are_written_in_their_largest_unit() -> None:
    assert [show_size(size) for size in (1 << 30, 64 << 20, 1536, 7)] == [
        "1GiB",
        "64MiB",
        "1536",
        "7",
    ]


@pytest.mark.parametrize(
    ("word", "value"), [("on", True), ("FALSE", False), (True, True), ("0", False)]
)
def test_switches_accept_the_usual_words(word, value) -> None:
    assert read("access_log", word) is value


@pytest.mark.parametrize(
    "text",
    [
        "nats://ann:hun,ter2@a:1",
        "ann:hun,ter2@a:1",
        "nats://ann:12,34@a:1,b:2",
        "nats://b:2,nats://ann:hun,ter2@a:1",
        "nats://ann:hunter 2@a",
        "nats://ann:hun@ter2,34@a",
        "ann:hun@ter2,34@a",
        "nats://ann:hun@ter2,34,12@a",
        ["nats://ann:hun@ter2,34@a"],
    ],
)
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_shown(text) -> None:
    with pytest.raises(ConfigError, match="percent-encode") as caught:
        read("transport_address", text)

    assert not any(part in caught.value.detail for part in ("hun", "ter2", "12", "34", "ann"))


def test_a_list_of_servers_with_credentials_is_read() -> None:
    text = "nats://ann:p%2Cw@a:1,nats://ann:p%2Cw@b:2, c:3"

    assert read("transport_address", text) == tuple(text.replace(" ", "").split(","))
