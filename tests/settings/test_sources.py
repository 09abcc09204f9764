"""How flags are read from words, apart from what they mean."""

from __future__ import annotations

from micro.settings.sources import read_flags, split


def values(argv, **how):
    layer, words = read_flags(argv, **how)
    return {name: found.value for name, found in layer.values.items()}, words


def test_a_switch_never_takes_the_next_word() -> None:
    assert values(["--fast", "x"], switches={"fast"}) == ({"fast": True}, ["x"])
    assert values(["--no-fast", "x"], switches={"fast"}) == ({"fast": False}, ["x"])
    assert values(["--fast=no"], switches={"fast"}) == ({"fast": "no"}, [])


def test_a_value_may_begin_with_one_dash_and_contain_equals() -> None:
    assert values(["--a", "-5", "--b=c=d", "--e="]) == ({"a": "-5", "b": "c=d", "e": ""}, [])


def test_the_last_of_a_flag_counts_unless_it_adds_up() -> None:
    argv = ["--a", "1", "--a", "2", "--a", "3"]

    assert values(argv) == ({"a": "3"}, [])
    assert values(argv, repeated={"a"}) == ({"a": ["1", "2", "3"]}, [])


def test_nothing_after_two_dashes_is_a_flag() -> None:
    assert split(["x", "--a", "1", "--", "--b"], ()) == ([["--a", "1"]], ["x", "--b"])
