"""What a terminal is given of text from peers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.telemetry.printable import printable, printable_json

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\t", r"a\r\nb\t"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("Grüße 👩‍👩‍👧 שלום", "Grüße 👩‍👩‍👧 שלום"),
    ],
)
def test_characters_that_a_terminal_obeys_are_escaped(text, shown) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_any_text_can_be_written_on_one_line(text) -> None:
    shown = printable(text)

    shown.encode()
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in shown)


@given(st.dictionaries(st.text(), st.text()), st.sampled_from([None, 2]))
def test_json_means_the_same_with_its_escapes(value, indent) -> None:
    text = printable_json(value, indent=indent)

    text.encode()
    assert json.loads(text) == value
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in text if char != "\n")
