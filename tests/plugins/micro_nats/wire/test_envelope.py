from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import CodecError
from micro.message import Message
from micro_nats.wire.envelope import (
    CLOSE_FRAME,
    MAX_MESSAGES,
    CloseFrame,
    bundle_of,
    decode_any,
    decode_bundle,
    decode_json,
    encode_json,
    pack_message,
)

# Payloads that go-micro v2, v4 and v6 put on the wire: generation, kind, payload.
FRAMES = [
    line.split(" ", 2)
    for line in (Path(__file__).parent / "go_frames.txt").read_text().splitlines()
]
ENVELOPES = [payload.encode() for _, kind, payload in FRAMES if kind == "envelope"]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.builds(Message, st.dictionaries(TEXT, TEXT, max_size=5), st.binary(max_size=50))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


@pytest.mark.parametrize("frame", ENVELOPES)
def test_a_go_micro_frame_is_written_back_byte_for_byte(frame: bytes) -> None:
    # A message here has a body, if an empty one: Go's nil body comes back as its empty one.
    assert encode_json(decode_json(frame)) == frame.replace(b'"Body":null', b'"Body":""')


def test_go_writes_some_characters_its_own_way() -> None:
    message = Message({"<&>": '\u2028\u2029 é \x00\x1f\x7f"\\\n/'}, b"")

    assert encode_json(message) == (
        b'{"Header":{"\\u003c\\u0026\\u003e":"\\u2028\\u2029 \xc3\xa9 '
        b'\\u0000\\u001f\x7f\\"\\\\\\n/"},"Body":""}'
    )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"{}", Message({}, b"")),
        (b'{"Header":null,"Body":null}', Message({}, b"")),
        (b'{"header":{"a":"b"},"BODY":"eA=="}', Message({"a": "b"}, b"x")),
        (b' {"Body" : "" , "Other": [1]}', Message({}, b"")),
        (b'{"Header":{"a":"\\ud800"}}', Message({"a": "?"}, b"")),
        (b'{"Header":{"a":"\xff"}}', Message({"a": "\ufffd"}, b"")),
    ],
)
def test_all_that_go_reads_is_read(frame: bytes, message: Message) -> None:
    assert decode_json(frame) == message


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"Header":[]}',
        b'{"Header":{"a":1}}',
        b'{"Header":{"a":null}}',
        b'{"Body":1}',
        b'{"Body":"*"}',
        b'{"Body":"eA="}',
        b'{"Body":{}}',
        b'{"Header":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_envelope_is_a_codec_error(frame: bytes) -> None:
    with pytest.raises(CodecError):
        decode_any(frame)


@given(MESSAGES)
def test_every_message_survives_go_micros_envelope(message: Message) -> None:
    frame = encode_json(message)

    assert decode_json(frame) == message
    assert json.loads(frame)["Header"] == message.headers


@given(st.lists(MESSAGES, min_size=1, max_size=MAX_MESSAGES))
def test_every_message_survives_a_bundle(messages: list[Message]) -> None:
    bundle = bundle_of([pack_message(message) for message in messages])

    assert decode_any(bundle) == messages
    assert bundle[:1] != b"{"


def test_a_full_bundle_is_read() -> None:
    messages = [Message({"n": str(n)}, b"%d" % n) for n in range(MAX_MESSAGES)]

    assert decode_bundle(bundle_of([pack_message(m) for m in messages])) == messages


def test_the_bytes_of_a_bundle_stay_as_they_are() -> None:
    data = bundle_of([pack_message(Message({"a": "b"}, b"c")), pack_message(Message({}, b""))])

    assert data.hex() == "9501" + "81a161a162" + "c40163" + "80" + "c400"
    assert CLOSE_FRAME.hex() == "9101"
    assert json.loads(encode_json(Message({}, b""))) == {"Header": {}, "Body": ""}


def test_a_close_frame_is_told_from_messages() -> None:
    with pytest.raises(CloseFrame):
        decode_any(CLOSE_FRAME)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [2, {}, b""],
        [1, {}, b"", {}],
        [1, {}, "text"],
        [1, {"a": 1}, b""],
        [1, {b"a": "b"}, b""],
        [1, {"a": b"b"}, b""],
        [1, [], b""],
        [1, {}, b"", {}, None],
        [1, {}, b"", [[]], b""],
        {"a": "b"},
        7,
        None,
        [1, {"a": {"b": "c"}}, b""],
        [1] + [{}, b""] * (MAX_MESSAGES + 1),
    ],
)
def test_what_is_no_bundle_is_a_codec_error(value: object) -> None:
    with pytest.raises(CodecError):
        decode_any(msgpack.packb(value))


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_codec_error(data: bytes) -> None:
    for payload in (data, b"{" + data, b"\x93\x01" + data, b"\xdc\x00\x05\x01" + data):
        try:
            decode_any(payload)
        except (CodecError, CloseFrame):
            continue


@given(JSON)
def test_no_json_raises_anything_but_a_codec_error(value: object) -> None:
    for each in (value, {"Header": value}, {"Body": value}):
        try:
            decode_any(json.dumps(each).encode())
        except CodecError:
            continue


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdd\x00\x0f\xff\xff" * 100_000,
        b"\x93\x01\x80" + b"\x90" * 500_000,
        b"\xdc\x00\x81\x01" + b"\xdc\x00\x80" * 150_000,
        b"\x93\x01" + b"\x81\xa0" * 250_000,
        b"\xc6\x7f\xff\xff\xff" + b"x" * 500_000,
        b'{"a":[' + b"[]," * 150_000 + b"[]]}",
        b'{"Header":{' + b",".join(b'"%d":""' % n for n in range(60_000)) + b"}}",
    ],
)
def test_a_hostile_payload_takes_little_more_than_its_own_size(payload: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(CodecError):
        decode_any(payload)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 2 * len(payload) + (1 << 21)


@pytest.mark.parametrize(
    "message",
    [
        Message({"a": 1}, b""),
        Message({"a": "\ud800"}, b""),
        Message({"a": "b"}, "text"),
    ],
)
def test_a_message_that_cannot_be_written_is_a_codec_error(message: Message) -> None:
    with pytest.raises(CodecError):
        encode_json(message)
    with pytest.raises(CodecError):
        decode_bundle(bundle_of([pack_message(message)]))
