"""The core's codecs keep the promises that every codec's plugin is held to."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from micro.codec import BytesCodec, Codec, JsonCodec, MsgpackCodec, TextCodec
from micro.testing.conformance.codec import CodecConformance


class TestJson(CodecConformance):
    @pytest.fixture
    def codec(self) -> Codec:
        return JsonCodec()


class TestMsgpack(CodecConformance):
    @pytest.fixture
    def codec(self) -> Codec:
        return MsgpackCodec()


class TestBytes(CodecConformance):
    cases: ClassVar[Any] = ((bytes, b""), (bytes, b"\x00\xff"), (bytearray, bytearray(b"a")))
    unwritable: ClassVar[Any] = ((bytes, "text"),)
    unreadable: ClassVar[Any] = ((bytes, b"a", str, ""),)
    hostile: ClassVar[Any] = ()

    @pytest.fixture
    def codec(self) -> Codec:
        return BytesCodec()


class TestText(CodecConformance):
    cases: ClassVar[Any] = ((str, ""), (str, "Zoë ☃"))
    unwritable: ClassVar[Any] = ((str, b"bytes"), (str, "\ud800"))
    unreadable: ClassVar[Any] = ((str, "5", int, ""),)
    hostile: ClassVar[Any] = ((str, b"\xff"), (str, b"\xc3"))

    @pytest.fixture
    def codec(self) -> Codec:
        return TextCodec()
