"""Random and malformed bytes, names and settings."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgpack
import pytest
from hypothesis import strategies as st

from micro import MicroError, PayloadTooLarge
from micro.concurrency.budget import ByteBudget
from micro.errors import ConfigError, InvalidName
from micro.message import Message
from micro.names import check_endpoint, check_pattern, check_queue, check_service, check_topic
from micro.registry.record import Node, ServiceRecord
from micro.settings.load import OPTIONS, Settings, load_settings
from micro.settings.sources import Found
from micro.wire.chunks import Chunker
from micro.wire.compression import Compression, decompress, encodings
from micro.wire.errors import error_from_wire, error_to_wire
from micro.wire.headers import (
    application_headers,
    canonical,
    credit_from,
    deadline_from,
    error_from,
)
from micro.wire.limits import MAX_BODY_BYTES
from micro_nats.connection.addresses import parse_addresses
from micro_nats.connection.parser import Handler, MalformedProtocol, Parser, parse_headers
from micro_nats.wire.envelope import CloseFrame, bundle_of, decode_any, encode_json, pack_message
from micro_nats.wire.records import decode_result, decode_service, encode_result, encode_service
from tests.faults.fuzzing import (
    ANY_TEXT,
    BODIES,
    EACH,
    HEADERS,
    JSON,
    MESSAGES,
    PROPERTIES,
    TEXT,
    VALUES,
    Property,
    count_cases,
    edited,
)
from tests.faults.programs.hostile import payloads

pytestmark = pytest.mark.timeout(280)

MEGABYTE = 1 << 20
RECORD = ServiceRecord(
    name="points", version="1", nodes=(Node(id="a", address="b", metadata={"micro-ttl": "5"}),)
)


def jsons(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


# Envelopes.


def bundle(messages: Sequence[Message]) -> bytes:
    return bundle_of([pack_message(message) for message in messages])


def read_payload(data: bytes) -> None:
    with suppress(MicroError, CloseFrame):
        for headers, body in decode_any(data):
            assert type(body) is bytes
            assert all(type(each) is str for pair in headers.items() for each in pair)


def round_trip(messages: list[Message]) -> None:
    assert decode_any(encode_json(messages[0])) == messages[:1]
    assert decode_any(bundle(messages)) == messages


def msgpack_of(values: list[object]) -> bytes:
    try:
        return msgpack.packb([1, *values])
    except (ValueError, OverflowError):
        return b""


def write_anything(headers: dict[str, str]) -> None:
    message = Message(headers, b"body")
    for write in (encode_json, lambda message: bundle([message])):
        with suppress(MicroError):
            assert decode_any(write(message)) == [message]


# The server's protocol.


class Seen(Handler):
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def on_message(self, sid: bytes, subject: bytes, reply: bytes, data: bytes, headers: bytes):
        parse_headers(headers)
        self.bodies.append(data)

    def on_control(self, line: bytes) -> None:
        if line[:4] not in (b"PING", b"PONG", b"INFO", b"-ERR"):
            raise MalformedProtocol("no such word")


def fed(data: bytes, cuts: list[int]) -> list[bytes]:
    seen = Seen()
    parser = Parser(seen)
    edges = sorted(min(cut, len(data)) for cut in cuts)
    for start, end in zip([0, *edges], [*edges, len(data)], strict=True):
        parser.feed(data[start:end])
    return seen.bodies


def messages_on_the_wire(bodies: list[bytes]) -> bytes:
    return b"".join(
        b"MSG a.b m1 %d\r\n%b\r\nPING\r\n" % (len(each), each)
        + b"HMSG a m1 r 12 %d\r\nNATS/1.0\r\n\r\n%b\r\n" % (12 + len(each), each)
        for each in bodies
    )


def parse_whole(case: tuple[list[bytes], list[int]]) -> None:
    bodies, cuts = case
    assert fed(messages_on_the_wire(bodies), cuts) == [each for each in bodies for _ in "12"]


def parse_broken(case: tuple[bytes, list[int]]) -> None:
    with suppress(MalformedProtocol):
        fed(*case)


_WORDS = [
    "MSG",
    "HMSG",
    "PING",
    "-ERR",
    "INFO",
    "a",
    "1",
    "0",
    "-1",
    ":",
    "NATS/1.0",
    "503",
    "\x00",
    "ÿ",
]
LINES = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from([b"MSG a 1 ", b"MSG a 1 r ", b"HMSG a 1 5 ", b"HMSG a 1 r 12 "]),
    st.sampled_from([b"0", b"-1", b"5", b"12", b"0x1", b"9" * 9, b"9" * 5000]),
    st.sampled_from([b"\r\n", b"\r\nhello", b"\n"]),
)
WORDS = st.lists(
    LINES | st.sampled_from([word.encode("latin-1") for word in [*_WORDS, *"01- ", "\r\n"]])
).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=4)
ON_WIRE = st.lists(BODIES, max_size=3)


# Headers, errors and names.


def read_headers(headers: dict[str, str]) -> None:
    for each in (headers, canonical(headers), application_headers(headers)):
        deadline = deadline_from(each, time.monotonic())
        assert deadline is None or -1 < deadline.remaining() < 1e9
        assert 0 <= credit_from(each) < 10**9
        assert isinstance(error_from(each), MicroError | None)


def read_error(text: str) -> None:
    assert isinstance(error_from_wire(text).status, str)
    again = error_from_wire(error_to_wire(MicroError(text, code=503, id=text)))
    assert (again.detail, again.id, again.code) == (text, text, 503)


def check_names(name: str) -> None:
    for check in (check_service, check_topic, check_queue, check_pattern, check_endpoint):
        try:
            assert check(name) == name
        except InvalidName:
            continue
        assert name.encode().split() == [name.encode()]
        assert 0 < len(name.encode()) <= 255
        assert all(name.split("."))
        assert check is check_pattern or not {"*", ">"} & set(name.split("."))
        assert name.isprintable() or not name.isascii()


# Records and settings.


def read_record(data: bytes) -> None:
    for read in (decode_service, decode_result):
        with suppress(MicroError):
            read(data)


def round_trip_record(case: tuple[str, str, dict[str, str]]) -> None:
    name, address, metadata = case
    node = Node(id="a", address=f"a{address}", metadata=metadata)
    metadata.pop("micro-ttl", None)  # it is the writer's own
    record = ServiceRecord(name=name or "x", version="1", nodes=(node,), metadata=metadata)
    assert decode_service(encode_service(record)).record == record
    assert decode_result(encode_result("create", record))[1].record == record


def read_options(case: tuple[list[str], dict[str, str]]) -> None:
    with suppress(ConfigError):
        assert isinstance(load_settings(*case), Settings)


def read_option(value: object) -> None:
    for option in OPTIONS:
        with suppress(ConfigError):
            once = option.read(Found(value, "argument x"))
            assert option.read(Found(once, "argument x")) == once
    with suppress(ConfigError):
        parse_addresses([str(value)])


FLAGS = st.sampled_from([f"--{option.name}" for option in OPTIONS] + ["--nats-user", "--no-x"])
VARIABLES = st.sampled_from([f"MICRO_{option.name.upper()}" for option in OPTIONS])


# Compression and pieces.


def round_trip_compressed(body: bytes) -> None:
    for name in encodings():
        headers, small = Compression(name).compress({}, body * 200)
        assert not headers or decompress(headers, small) == body * 200


def decompress_anything(data: bytes) -> None:
    for name in (*encodings(), "br"):
        with suppress(MicroError):
            decompress({"Content-Encoding": name}, data)


def receive_chunks(frames: list[Message]) -> None:
    asyncio.run(receive_in_loop(frames))


async def receive_in_loop(frames: list[Message]) -> None:
    chunker = Chunker(
        None,  # type: ignore[arg-type]  # nothing is sent
        lambda _: None,
        budget=ByteBudget(1 << 30),
        on_stalled=lambda *_: None,
    )
    for frame in frames:
        with suppress(MicroError, KeyError):
            headers = {"Micro-Pieces": "3", **frame.headers}
            whole = chunker.receive(Message(headers, frame.body))
            assert whole is None or "Micro-Pieces" not in whole.headers
    chunker.shutdown()
    assert chunker._budget.held == 0


SHRUNK = st.sampled_from(
    [Compression(name).compress({}, b"so it goes " * 200)[1] for name in encodings()]
)


PURE = {
    "envelopes": (
        Property(st.binary(max_size=80), read_payload),
        Property(edited(st.lists(MESSAGES, min_size=1, max_size=3).map(bundle)), read_payload),
        Property(edited(MESSAGES.map(encode_json)), read_payload),
        Property(st.builds(lambda h, b: jsons({"Header": h, "Body": b}), JSON, JSON), read_payload),
        Property(st.lists(JSON, max_size=4).map(msgpack_of), read_payload),
        Property(st.lists(MESSAGES, min_size=1, max_size=4), round_trip),
        Property(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3), write_anything),
    ),
    "protocol": (
        Property(st.tuples(ON_WIRE, CUTS), parse_whole),
        Property(st.tuples(edited(ON_WIRE.map(messages_on_the_wire)), CUTS), parse_broken),
        Property(st.tuples(LINES | WORDS, CUTS), parse_broken),
    ),
    "headers and names": (
        Property(HEADERS, read_headers),
        Property(ANY_TEXT | JSON.map(lambda value: json.dumps({"code": value})), read_error),
        Property(ANY_TEXT | st.text("aZ_-.*> \r\n\x00é", max_size=300), check_names),
    ),
    "records": (
        Property(JSON.map(jsons), read_record),
        Property(edited(st.just(encode_result("create", RECORD, ttl=5))), read_record),
        Property(st.tuples(TEXT, TEXT, st.dictionaries(TEXT, TEXT)), round_trip_record),
    ),
    "settings": (
        Property(
            st.tuples(
                st.lists(FLAGS | ANY_TEXT, max_size=4),
                st.dictionaries(VARIABLES, VALUES | ANY_TEXT, max_size=3),
            ),
            read_options,
        ),
        Property(JSON | st.binary(max_size=9) | VALUES, read_option),
    ),
    "compressed and cut bodies": (
        Property(st.binary(max_size=40), round_trip_compressed),
        Property(edited(SHRUNK) | st.binary(max_size=60), decompress_anything),
        Property(st.lists(MESSAGES, max_size=8), receive_chunks),
    ),
}


@pytest.mark.parametrize("kind", PURE)
def test_whatever_comes_is_read_or_refused_typed(verdict, kind) -> None:
    row = verdict(
        f"Random, broken and hostile {kind}",
        "errors of this library's own kinds only; what was written is read back exactly",
    )
    ran = sum(count_cases(each) for each in PURE[kind])

    row.measured = f"{ran} generated cases of {len(PURE[kind])} properties, no other error"
    assert ran >= 0.9 * EACH * len(PURE[kind])


def test_every_property_has_its_share_of_the_cases() -> None:
    assert sum(map(len, PURE.values())) + 2 == PROPERTIES


@pytest.mark.parametrize(
    ("what", "read", "bound"),
    [("An envelope", read_payload, 4), ("A registry record", read_record, 16)],
    ids=["envelope", "record"],
)
def test_hostile_payloads_take_little_more_memory_than_they_have(
    verdict, what, read, bound
) -> None:
    row = verdict(
        f"{what} of 1 MB: deep nesting, lengths beyond the end, endless lists, broken text",
        f"reading takes at most {bound} times its size",
    )
    most = max(peak_of(read, payload) / MEGABYTE for payload in payloads(MEGABYTE))

    row.measured = f"at most {most:.1f} times"
    assert most < bound


def zeros(name: str, size: int) -> bytes:
    """So many zeros, compressed."""
    if name == "zstd":
        from backports import zstd

        packed: bytes = zstd.compress(bytes(size))
        return packed
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return compressor.compress(bytes(size)) + compressor.flush()


def test_a_bomb_is_expanded_to_its_bound_only(verdict) -> None:
    row = verdict("256 MiB of zeros, compressed", "refused typed; at most twice the bound taken")
    most = 0.0
    for name in encodings():
        bomb = zeros(name, 256 * MEGABYTE)
        with pytest.raises(PayloadTooLarge):
            decompress({"Content-Encoding": name}, bomb)
        most = max(most, peak_of(decompress_anything, bomb) / MAX_BODY_BYTES)

    row.measured = f"refused; {most:.1f} times the bound of 64 MiB taken"
    assert most < 2.1


def peak_of(read: Callable[[bytes], None], payload: bytes) -> int:
    tracemalloc.start()
    try:
        read(payload)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
