"""Events as other programs put them on NATS."""

from __future__ import annotations

import json

import msgpack
import pytest

from micro.errors import CodecError
from micro.message import Message
from micro_nats.wire.envelope import CLOSE_FRAME, CloseFrame, bundle_of, encode_json, pack_message
from micro_nats.wire.events import decode_event, header_block

EVENT = Message({"Content-Type": "application/json", "Micro-ID": "1"}, b'{"id":1}')


@pytest.mark.parametrize(
    "payload",
    [
        encode_json(EVENT),
        b'{"Body":"eyJpZCI6MX0=","Header":{"Content-Type":"application/json","Micro-ID":"1"}}',
        b'{"header":{"Content-Type":"application/json","Micro-ID":"1"},"body":"eyJpZCI6MX0="}',
        bundle_of([pack_message(EVENT)]),
    ],
)
def test_an_envelope_is_opened(payload: bytes) -> None:
    assert decode_event(payload, None) == [EVENT]


def test_go_headers_of_null_are_an_envelope() -> None:
    assert decode_event(b'{"Header":null,"Body":null}', None) == [Message({}, b"")]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b'{"id":1}',
        b'{"Header":"a title","Body":"a text"}',
        b'{"Header":{"a":"b"},"Body":"eyJpZCI6MX0=","Other":1}',
        b'{"body":"eyJpZCI6MX0="}',
        b'{"Header":{"a":1},"Body":""}',
        b'{"name":"kratos","count":3}',
        b"{not json",
        b"[1,2,3]",
        b'"text"',
        b"plain text",
        b"\xff\xfe",
        b"\x0a\x03bob",
        msgpack.packb({"id": 1}),
        msgpack.packb([1, 2, 3]),
        json.dumps([{"n": n} for n in range(20_000)]).encode(),
        b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(20_000)) + b"}",
    ],
)
def test_what_is_in_no_envelope_is_the_body(payload: bytes) -> None:
    assert decode_event(payload, None) == [Message({}, payload)]


@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
def test_a_content_type_among_the_nats_headers_marks_a_bare_body(name: str) -> None:
    headers = {name: "application/json", "zone": "a"}
    payload = encode_json(EVENT)

    assert decode_event(payload, headers) == [Message(headers, payload)]


def test_other_nats_headers_leave_an_envelope_one() -> None:
    assert decode_event(encode_json(EVENT), {"Nats-Msg-Id": "7"}) == [EVENT]


def test_a_close_frame_is_no_event() -> None:
    with pytest.raises(CloseFrame):
        decode_event(CLOSE_FRAME, None)


def test_headers_are_written_as_nats_writes_them() -> None:
    block = header_block({"Content-Type": "text/plain", "zone": "Zoë"})

    assert block == "NATS/1.0\r\nContent-Type: text/plain\r\nzone: Zoë\r\n\r\n".encode()


@pytest.mark.parametrize(
    "headers",
    [{"a": "b\r\nc: d"}, {"a": "b\nc"}, {"a b": "c"}, {"a:b": "c"}, {"": "c"}, {"a": "\ud800"}],
)
def test_headers_that_nats_cannot_carry_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CodecError):
        header_block(headers)
