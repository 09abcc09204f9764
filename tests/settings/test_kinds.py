"""What kinds of settings accept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.settings.kinds import ADDRESSES, PAIRS, SWITCH, TEXT, duration, hide_secrets

ANYTHING = st.one_of(
    st.text(), st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.text())
)


@given(ANYTHING, st.sampled_from([ADDRESSES, PAIRS, SWITCH, TEXT, duration()]))
def test_anything_is_read_or_refused_and_reading_twice_changes_nothing(value, kind) -> None:
    try:
        found = kind.read(value)
    except ValueError:
        return

    assert kind.read(found) == found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("500ms", 0.5), ("1.5s", 1.5), ("1h1m1s", 3661), ("10us", 1e-5), (" 2m ", 120)],
)
def test_durations_are_seconds(text, seconds) -> None:
    assert duration().read(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("word", "value"), [("on", True), ("FALSE", False), (True, True), ("0", False)]
)
def test_switches_know_the_usual_words(word, value) -> None:
    assert SWITCH.read(word) is value


def test_a_password_may_hold_anything() -> None:
    assert hide_secrets("nats://a:p@/ss, w'@host:1") == "***@host:1"
    assert hide_secrets("host:1") == "host:1"
