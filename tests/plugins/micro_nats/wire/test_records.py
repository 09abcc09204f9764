from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import CodecError
from micro.registry.record import EndpointRecord, Node, ServiceRecord, ValueRecord
from micro_nats.wire.records import decode_result, decode_service, encode_result, encode_service

FRAMES = [
    line.split(" ", 2)
    for line in (Path(__file__).parent / "go_frames.txt").read_text().splitlines()
]
RESULTS = [(age, text.encode()) for age, kind, text in FRAMES if kind in ("watch", "query")]
SERVICES = [(age, text.encode()) for age, kind, text in FRAMES if kind == "service"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "nodes", "endpoints", "Service", "x"]), inner)
    ),
)


@pytest.mark.parametrize("frame", [text for age, text in SERVICES if age != "v2"])
def test_a_service_of_gos_is_written_back_byte_for_byte(frame: bytes) -> None:
    assert encode_service(decode_service(frame).record) == frame


@pytest.mark.parametrize("frame", [text for age, text in RESULTS if age != "v2"])
def test_a_message_of_gos_is_written_back_byte_for_byte(frame: bytes) -> None:
    action, announcement = decode_result(frame)

    assert encode_result(action, announcement and announcement.record) == frame


@pytest.mark.parametrize("frame", [text for _, text in RESULTS])
def test_every_generation_is_understood(frame: bytes) -> None:
    action, announcement = decode_result(frame)
    again = decode_result(encode_result(action, announcement and announcement.record))

    assert again == (action, announcement)
    assert action in ("get", "list", "create", "delete")


def test_keys_are_read_in_any_case() -> None:
    frame = b'{"SERVICE":{"NAME":"a","Nodes":[{"ID":"x","ADDRESS":"y"}]},"action":"create"}'
    _, announcement = decode_result(frame)

    assert announcement.record == ServiceRecord(
        name="a", version="", nodes=(Node(id="x", address="y", metadata={}),), metadata={}
    )


def test_a_ttl_is_carried_and_not_shown() -> None:
    record = ServiceRecord(
        name="a", version="1", nodes=(Node(id="x", address="y", metadata={"zone": "a"}),)
    )
    found = decode_service(encode_service(record, ttl=12.5))

    assert found.ttl == 12.5
    assert found.record.nodes[0].metadata == {"zone": "a"}
    assert decode_service(encode_service(record)).ttl is None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"name":1}',
        b'{"name":""}',
        b'{"name":"a","nodes":{}}',
        b'{"name":"a","nodes":[1]}',
        b'{"name":"a","nodes":[{"id":1}]}',
        b'{"name":"a","metadata":{"a":1}}',
        b'{"name":"a","endpoints":[{"request":[]}]}',
        b'{"name":"%b"}' % (b"x" * 300),
        b'{"name":"a","nodes":' + b"[" * 100_000,
        b'{"name":"a","nodes":[' + b"{}," * 100_000 + b"{}]}",
    ],
)
def test_what_is_no_record_is_a_codec_error(frame: bytes) -> None:
    with pytest.raises(CodecError):
        decode_service(frame)


def test_nodes_without_id_or_address_are_left_out() -> None:
    nodes = [{"id": "a"}, {"address": "b"}, {}, {"id": "c", "address": "d"}]
    found = decode_service(json.dumps({"name": "a", "nodes": nodes}).encode())

    assert [node.id for node in found.record.nodes] == ["c"]


def test_a_large_record_is_read() -> None:
    value = ValueRecord(name="a", type="b")
    endpoint = EndpointRecord(
        name="A.B", request=ValueRecord(name="c", type="d", values=(value,) * 40)
    )
    record = ServiceRecord(name="a", version="1", endpoints=(endpoint,) * 500)

    assert decode_service(encode_service(record)).record == record


def test_a_tree_of_values_is_cut_off_below_what_any_writer_sends() -> None:
    value: dict[str, object] = {"name": "deep", "type": "t"}
    for _ in range(50):
        value = {"name": "v", "type": "t", "values": [value]}
    found = decode_service(
        json.dumps({"name": "a", "endpoints": [{"name": "A.B", "request": value}]}).encode()
    )

    assert "deep" not in repr(found)


@given(JSON)
def test_no_json_raises_anything_but_a_codec_error(value: object) -> None:
    for read in (decode_service, decode_result):
        try:
            read(json.dumps(value).encode())
        except CodecError:
            continue
