"""What the commands send."""

from __future__ import annotations

import io
import os

import click
import pytest

from micro.cli.body import headers_from, read_body, read_lines
from micro.cli.output import as_value, one_line

JSON = "application/json"


class Stdin:
    """Standard input that is a pipe."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def fileno(self):
        return self.descriptor


@pytest.fixture
def pipe(monkeypatch):
    """What standard input reads, to be written and closed by the test."""
    out, into = os.pipe()
    monkeypatch.setattr("sys.stdin", Stdin(out))
    with open(into, "wb", buffering=0) as writer:
        yield writer
    os.close(out)


def test_headers_may_have_colons_in_their_values() -> None:
    assert headers_from(["a: b:c", "D:"]) == {"a": "b:c", "D": ""}


@pytest.mark.parametrize("pair", ["a", ":b", " :b"])
def test_a_header_needs_a_name_and_a_colon(pair) -> None:
    with pytest.raises(click.UsageError, match="NAME:VALUE"):
        headers_from([pair])


def test_a_body_comes_from_the_line_a_file_or_standard_input(tmp_path, monkeypatch) -> None:
    (tmp_path / "body.json").write_bytes(b'{"a":2}')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"a":3}')))

    assert read_body('{"a":1}', JSON) == b'{"a":1}'
    assert read_body(f"@{tmp_path}/body.json", JSON) == b'{"a":2}'
    assert read_body("-", JSON) == b'{"a":3}'


def test_only_json_must_be_json() -> None:
    assert read_body("hello", "text/plain") == b"hello"
    with pytest.raises(click.UsageError, match="not JSON"):
        read_body("hello", f"{JSON}; charset=utf-8")


async def test_lines_arrive_one_by_one_without_blank_ones(pipe) -> None:
    lines = read_lines(JSON)
    pipe.write(b'{"a":1}\n\n{"a"')

    assert await anext(lines) == b'{"a":1}'
    pipe.write(b":2}\n[3]")
    pipe.close()
    assert [line async for line in lines] == [b'{"a":2}', b"[3]"]


async def test_more_lines_than_are_read_ahead_all_arrive(pipe) -> None:
    pipe.write(b"1\n" * 1000)
    pipe.close()

    assert len([line async for line in read_lines(JSON)]) == 1000


def test_bodies_are_shown_as_what_they_are() -> None:
    assert as_value(b'{"a":1}') == {"a": 1}
    assert as_value(b"hello") == "hello"
    assert as_value(b"\xff") == {"base64": "/w=="}
    assert one_line(b'{\n"a": 1}') == '{"a": 1}'
    assert one_line(b"a\nb") == '"a\\nb"'
    assert one_line(b"hello") == "hello"
