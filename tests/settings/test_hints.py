"""What is shown to people of names and values."""

from __future__ import annotations

import pytest

from micro.settings.hints import hide_secrets, nearest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nats://a:p@/ss, w'@host:1", "'***@host:1'"),
        ("nats://ann:hunter2", "'***'"),
        ("nats://ann:hunter2@a b", "'***'"),
        ("nats://host:1", "'nats://host:1'"),
        ("host:1", "'host:1'"),
        (("nats://a:b@c:1", "d"), "['***@c:1', 'd']"),
        (5, "5"),
    ],
)
def test_passwords_in_addresses_are_hidden(value, shown) -> None:
    assert hide_secrets(value) == shown


def test_long_values_are_cut() -> None:
    assert len(hide_secrets("x" * 1000)) < 100


def test_the_nearest_name_is_found_unless_all_are_far() -> None:
    assert nearest("max_queu", ["max_queue", "config"]) == "max_queue"
    assert nearest("zzz", ["max_queue", "config"]) == ""
