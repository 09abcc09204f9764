"""Reading a hostile body costs about as much as reading an ordinary one of its size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack
import pytest
from google.protobuf.struct_pb2 import Struct
from pydantic import BaseModel

from micro.codec import Codec, JsonCodec, MsgpackCodec, ProtobufCodec
from micro.errors import CodecError

SIZE = 845_000
MAX_RATIO = 10
MIN_SECONDS = 0.005
"""What reading takes at least, so that a pause of the machine does not count."""


class Node(BaseModel):
    children: list[Node] = []
    value: int = 0


def nested(header: bytes) -> bytes:
    return header * (SIZE // len(header))


def half_filled(items: int) -> bytes:
    header = b"\xdc" + items.to_bytes(2, "big")
    return (header + b"\xc0" * 900) * (SIZE // 903)


MSGPACK_BODIES = {
    "nested arrays of 14,000": nested(b"\xdc" + (14_000).to_bytes(2, "big")),
    "half-filled arrays": half_filled(14_000),
    "arrays of four billion": nested(b"\xdd\xff\xff\xff\xff"),
    "arrays as long as the body": nested(b"\xdd" + (SIZE // 5).to_bytes(4, "big")),
    "maps of four billion": nested(b"\xdf\xff\xff\xff\xff"),
    "small arrays": nested(b"\x9f"),
    "small maps": nested(b"\x8f\xa1a"),
    "strings of four billion": nested(b"\xdb\xff\xff\xff\xff"),
    "extensions": nested(b"\xc9\x00\x01\x00\x00\x05"),
    "an array in an array, short of one": b"\xdd" + SIZE.to_bytes(4, "big") + b"\xc0" * (SIZE - 1),
}
JSON_BODIES = {
    "nested arrays": b"[" * SIZE,
    "nested objects": b'{"a":' * (SIZE // 5),
    "nested and closed": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "one integer": b"9" * SIZE,
    "integers at the limit": b"[" + b",".join([b"9" * 4_300] * (SIZE // 4_301)) + b"]",
    "one exponent": b"1e" + b"9" * SIZE,
    "one fraction": b"0." + b"9" * SIZE,
    "one open string": b'"' + b"\\u0041" * (SIZE // 6),
}
ITEMS_SIZE = SIZE // 6
WRONG_ITEMS = {
    "lists in place of integers": b"[" + b"[]," * (ITEMS_SIZE // 3) + b"[]]",
    "texts in place of integers": b"[" + b'"",' * (ITEMS_SIZE // 3) + b'""]',
    "nulls": b"[" + b"null," * (ITEMS_SIZE // 5) + b"[]]",
    "wrong at the end": b"[" + b"1," * (ITEMS_SIZE // 2) + b"[]]",
}
MANY = (list[int], list[Node], set[int], frozenset[int], tuple[int, ...], Sequence[int], Node)
PROTOBUF_BODIES = {
    "nested structs": b"\x0a\xff\xff\xff\x7f" * (SIZE // 5),
    "groups": b"\x0b" * SIZE,
    "unknown fields": b"\x98\x06\x01" * (SIZE // 3),
    "lengths beyond the end": b"\x0a\xff\xff\x03" * (SIZE // 4),
}


def seconds(read: Callable[[bytes], Any], body: bytes) -> float:
    """The quickest of three readings, so that a busy machine does not count."""
    best = 60.0
    for _ in range(3):
        started = time.perf_counter()
        try:
            read(body)
        except CodecError:
            best = min(best, time.perf_counter() - started)
        else:
            best = min(best, time.perf_counter() - started)
    return best


def ratio(codec: Codec, body: bytes, plain: bytes, types: tuple[Any, ...] = (Any, Node)) -> float:
    """How much longer the reading of a body takes than that of a plain one of its size."""
    usual = max(seconds(codec.decoder(types[0]), plain), MIN_SECONDS)
    return max(seconds(codec.decoder(type_), body) for type_ in types) / usual


@pytest.mark.parametrize("body", MSGPACK_BODIES.values(), ids=MSGPACK_BODIES)
def test_a_messagepack_body_costs_what_its_size_says(body: bytes) -> None:
    plain = msgpack.packb([[1, "abc", None, 1.5]] * (SIZE // 16))

    assert ratio(MsgpackCodec(), body, plain) < MAX_RATIO


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)
def test_a_json_body_costs_what_its_size_says(body: bytes) -> None:
    plain = b"[" + b'[1,"abc",null,1.5],' * (SIZE // 19) + b"1]"

    assert ratio(JsonCodec(), body, plain) < MAX_RATIO


@pytest.mark.parametrize("type_", MANY, ids=str)
@pytest.mark.parametrize("body", WRONG_ITEMS.values(), ids=WRONG_ITEMS)
def test_items_of_a_wrong_type_cost_what_their_size_says(body: bytes, type_: Any) -> None:
    if type_ is Node:
        body = b'{"children":' + body + b"}"
    plain = [[1, "abc", None, 1.5]] * (ITEMS_SIZE // 19)
    packed = msgpack.packb(json.loads(body))

    assert ratio(JsonCodec(), body, json.dumps(plain).encode(), (Any, type_)) < MAX_RATIO
    assert ratio(MsgpackCodec(), packed, msgpack.packb(plain), (Any, type_)) < MAX_RATIO


@pytest.mark.parametrize("type_", [dict[str, int], dict[int, int], Mapping[str, int]], ids=str)
def test_members_of_a_wrong_type_cost_what_their_size_says(type_: Any) -> None:
    members = dict.fromkeys(map(str, range(ITEMS_SIZE // 12)), 10)
    wrong: dict[str, list[int]] = {key: [] for key in members}

    for codec in (JsonCodec(), MsgpackCodec()):
        write, types = codec.encoder(Any), (dict[str, Any], type_)
        assert ratio(codec, write(wrong), write(members), types) < MAX_RATIO


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()], ids=["json", "msgpack"])
def test_the_first_item_that_is_wrong_is_named_with_its_path(codec: Codec) -> None:
    value = {"children": [{"value": 1}, {"value": "x"}, {"value": "y"}], "value": "z"}
    body = codec.encoder(Any)(value)

    with pytest.raises(CodecError) as failed:
        codec.decoder(Node)(body)

    assert str(failed.value.detail).count("children.1.value: ") == 1
    assert "children.2" not in failed.value.detail
    assert "; value: " in failed.value.detail


@pytest.mark.parametrize("body", PROTOBUF_BODIES.values(), ids=PROTOBUF_BODIES)
def test_a_protobuf_body_costs_what_its_size_says(body: bytes) -> None:
    message = Struct()
    message.update({str(number): number for number in range(SIZE // 20)})

    assert ratio(ProtobufCodec(), body, message.SerializeToString(), (Struct,)) < MAX_RATIO
