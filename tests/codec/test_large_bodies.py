"""Large bodies: read without the cycle collector, and within a bound on lists and objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from google.protobuf.struct_pb2 import ListValue

from micro.codec import Codec, JsonCodec, MsgpackCodec
from micro.codec import _large as large
from micro.errors import CodecError

LISTS: list[Any] = [[]] * 100_000
CODECS = [
    pytest.param(JsonCodec(), b"[" + b"[]," * 99_999 + b"[]]", id="json"),
    pytest.param(MsgpackCodec(), msgpack.packb(LISTS), id="msgpack"),
]


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generations of Python's collector that ran."""
    ran: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            ran.append(info["generation"])

    gc.callbacks.append(note)
    yield ran
    gc.callbacks.remove(note)


@pytest.mark.parametrize(("codec", "body"), CODECS)
def test_the_collector_rests_while_a_large_body_is_read(
    codec: Codec, body: bytes, collections: list[int]
) -> None:
    read = codec.decoder(list[Any])
    collections.clear()
    value = read(body)

    assert len(collections) < 10
    assert gc.isenabled()
    assert value == LISTS


@pytest.mark.parametrize(("codec", "body"), CODECS)
def test_the_collector_runs_again_after_a_body_that_does_not_fit(codec: Codec, body: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decoder(int)(body)

    assert gc.isenabled()


@pytest.mark.parametrize(("codec", "body"), CODECS)
def test_a_collector_that_the_application_stopped_stays_stopped(codec: Codec, body: bytes) -> None:
    gc.disable()
    try:
        codec.decoder(Any)(body)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(("codec", "body"), CODECS)
def test_a_body_of_too_many_lists_is_refused(
    codec: Codec, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "MAX_CONTAINERS", 99_999)
    with pytest.raises(CodecError, match="more than 99999 lists and objects"):
        codec.decoder(Any)(body)

    assert gc.isenabled()


def test_so_is_one_for_a_protobuf_message_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "MAX_CONTAINERS", 1_000)
    body = b"[" + b"[]," * 9_999 + b"[]]"
    with pytest.raises(CodecError, match="lists and objects"):
        JsonCodec().decoder(ListValue)(body)


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()])
def test_brackets_and_letters_in_a_text_are_no_lists(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "MAX_CONTAINERS", 1_000)
    value = ['[{"\\' * 5_000, "Жизнь" * 5_000]

    assert codec.decoder(list[str])(codec.encoder(list[str])(value)) == value
