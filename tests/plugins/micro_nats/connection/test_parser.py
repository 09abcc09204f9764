from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro_nats.connection.parser import Handler, MalformedProtocol, Parser, parse_headers

STREAM = (
    b'INFO {"server_id":"x"}\r\n'
    b"MSG a.b 1 5\r\nhello\r\n"
    b"MSG a.b m2 reply.to 0\r\n\r\n"
    b"PING\r\n"
    b"MSG \xff\xfe 3 4\r\n\r\n\r\n\r\n"
    b"HMSG s 4 12 17\r\nNATS/1.0\r\n\r\nbody!\r\n"
    b"HMSG s 4 r 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"-ERR 'Some Error'\r\n+OK\r\nPONG\r\n"
    b"MSG  spaced\t5  3\r\nabc\r\n"
)


class Log(Handler):
    def __init__(self) -> None:
        self.items: list[tuple[bytes, ...]] = []

    def on_message(self, *message: bytes) -> None:
        self.items.append(message)

    def on_control(self, line: bytes) -> None:
        self.items.append((line,))


def parse(*chunks: bytes) -> list[tuple[bytes, ...]]:
    log = Log()
    parser = Parser(log)
    for chunk in chunks:
        parser.feed(chunk)
    return log.items


WHOLE = parse(STREAM)


def test_a_stream_is_cut_into_its_items() -> None:
    assert WHOLE == [
        (b'INFO {"server_id":"x"}',),
        (b"1", b"a.b", b"", b"hello", b""),
        (b"m2", b"a.b", b"reply.to", b"", b""),
        (b"PING",),
        (b"3", b"\xff\xfe", b"", b"\r\n\r\n", b""),
        (b"4", b"s", b"", b"body!", b"NATS/1.0\r\n\r\n"),
        (b"4", b"s", b"r", b"", b"NATS/1.0 503\r\n\r\n"),
        (b"-ERR 'Some Error'",),
        (b"+OK",),
        (b"PONG",),
        (b"5", b"spaced", b"", b"abc", b""),
    ]


@pytest.mark.parametrize("at", range(len(STREAM)))
def test_it_may_be_split_at_every_byte(at: int) -> None:
    assert parse(STREAM[:at], STREAM[at:]) == WHOLE


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11])
def test_it_may_come_in_small_pieces(size: int) -> None:
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]

    assert parse(*pieces) == WHOLE


def test_a_big_message_comes_whole_from_many_pieces() -> None:
    body = random.Random(1).randbytes(3_000_000)
    stream = b"MSG big 1 %d\r\n%b\r\nPING\r\n" % (len(body), body)

    items = parse(*[stream[at : at + 65_536] for at in range(0, len(stream), 65_536)])

    assert items == [(b"1", b"big", b"", body, b""), (b"PING",)]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 1\r\n",
        b"MSG a 1 r x 5\r\n",
        b"MSG a 1 -5\r\n",
        b"MSG \r\n",
        b"MSG a 1 5x\r\n",
        b"HMSG a 1 5\r\n",
        b"HMSG a 1 9 5\r\n",
        b"HMSG a 1 r x 9 12\r\n",
        b"HMSG a 1 x 12\r\n",
        b"MSG a 1 %b\r\n" % (b"9" * 5000),
    ],
)
def test_a_line_that_makes_no_sense_is_an_error(line: bytes) -> None:
    with pytest.raises(MalformedProtocol):
        parse(line)


def test_a_line_without_an_end_is_an_error() -> None:
    with pytest.raises(MalformedProtocol):
        parse(*[b"x" * 65_536] * 20)


@given(st.lists(st.binary(max_size=40), max_size=20), st.randoms())
def test_any_payload_passes_however_it_is_split(bodies: list[bytes], chance) -> None:
    stream = b"".join(b"MSG s 1 %d\r\n%b\r\n" % (len(body), body) for body in bodies)
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(5)) if stream else []
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert [item[3] for item in parse(*pieces)] == bodies


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_the_one_error(data: bytes) -> None:
    try:
        parse(data, b"\r\n")
    except MalformedProtocol:
        return


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        (b"NATS/1.0\r\n\r\n", {}),
        (b"NATS/1.0\r\nA: b\r\nC:d:e\r\n\r\n", {"A": "b", "C": "d:e"}),
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (
            b"NATS/1.0 404 No Messages\r\nX: y\r\n\r\n",
            {"Status": "404", "Description": "No Messages", "X": "y"},
        ),
        (b"", {}),
        (b"rubbish", {}),
        (b"NATS/1.0\r\n\xff: x\r\nA: \xff\r\nno colon\r\n\r\n", {"A": "\ufffd"}),
        (b"NATS/1.0 \xff\xfe\xfd\r\n\r\n", {}),
    ],
)
def test_headers_are_read_and_garbage_is_passed_over(block: bytes, headers: object) -> None:
    assert parse_headers(block) == headers


@given(st.binary(max_size=100))
def test_no_header_block_raises(block: bytes) -> None:
    parse_headers(b"NATS/1.0" + block)
