"""What every codec must do."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from micro.codec.contract import Codec
from micro.errors import CodecError

__all__ = ["CodecConformance", "Shade", "Shape", "Shapes"]


class Shade(Enum):
    """An enumeration, for the cases."""

    LIGHT = "light"
    DARK = "dark"


@dataclass
class Shape:
    """A dataclass, for the cases."""

    name: str
    sides: int
    shade: Shade = Shade.LIGHT
    tags: list[str] = field(default_factory=list)


class Shapes(BaseModel):
    """A pydantic model, for the cases."""

    owner: str | None = None
    items: list[Shape] = []
    sizes: dict[str, float] = {}
    made: datetime | None = None


class CodecConformance:
    """Subclass it and give one fixture, `codec`.

    A codec for some types only gives its own tables.

    Attributes:
        cases: Pairs of a type and a value of it that must survive the round trip.
        unwritable: Pairs of a type and a value that must not be written as it.
        unreadable: A type that was written, its value, a type that does not fit, and the path of
            the first field at fault, `""` if the whole is.
        hostile: Pairs of a type and bytes that must not be read as it.
    """

    cases: ClassVar[Sequence[tuple[Any, Any]]] = (
        (bool, True),
        (int, 0),
        (int, -(2**53)),
        (int, 2**53),
        (float, 0.1),
        (float, -1e300),
        (str, ""),
        (str, 'Zoë ☃ "\\\r\n\x00'),
        (str | None, None),
        (type(None), None),
        (list[int], []),
        (list[int], list(range(1000))),
        (dict[str, list[str]], {"": [], "a": ["b", "c"]}),
        (tuple[int, str], (1, "a")),
        (datetime, datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)),
        (Shade, Shade.DARK),
        (Shape, Shape("square", 4, Shade.DARK, ["flat"])),
        (Shapes, Shapes()),
        (Shapes, Shapes(owner="ann", items=[Shape("a", 1), Shape("b", 2)], sizes={"a": 0.5})),
        (list[Shapes], [Shapes(made=datetime(2024, 1, 1, tzinfo=UTC))]),
        (Any, {"a": [1, 2.5, "x", None, True]}),
    )
    unwritable: ClassVar[Sequence[tuple[Any, Any]]] = (
        (int, object()),
        (Shape, object()),
    )
    unreadable: ClassVar[Sequence[tuple[Any, Any, Any, str]]] = (
        (str, "a", int, ""),
        (dict[str, Any], {"name": "a", "sides": "many"}, Shape, "sides"),
        (dict[str, Any], {"name": "a"}, Shape, "sides"),
        (
            dict[str, Any],
            {"items": [{"name": "a", "sides": 1}, {"name": "b", "sides": []}]},
            Shapes,
            "items.1.sides",
        ),
        (dict[str, Any], {"sizes": {"a": "wide"}}, Shapes, "sizes.a"),
        (type(None), None, int, ""),
    )
    hostile: ClassVar[Sequence[tuple[Any, bytes]]] = (
        (Shape, b""),
        (Shape, b"\x00"),
        (Shape, b"\xff\xfe\xfd"),
        (Shape, b"{"),
        (Shape, b"[" * 100_000),
        (Shape, b"\x91" * 100_000),
        (Shape, b'{"name": "a", "sides": 1}trailing'),
        (Shape, b'{"name": "\xff", "sides": 1}'),
        (Shape, b"\xdf\xff\xff\xff\xff"),
        (Shape, b"\xdd\xff\xff\xff\xff"),
        (Any, b"\xc1"),
        (Any, b"\xdb\xff\xff\xff\xffshort"),
    )

    def test_it_has_a_content_type(self, codec: Codec) -> None:
        kind, slash, name = codec.content_type.partition("/")

        assert kind
        assert slash
        assert name
        assert codec.content_type == codec.content_type.strip().lower()

    def test_values_survive_the_round_trip(self, codec: Codec) -> None:
        for type_, value in self.cases:
            data = codec.encoder(type_)(value)
            back = codec.decoder(type_)(data)

            assert isinstance(data, bytes), type_
            assert back == value, type_
            assert type(back) is type(value), type_

    def test_encoders_and_decoders_serve_many_values(self, codec: Codec) -> None:
        for type_, value in self.cases:
            encode, decode = codec.encoder(type_), codec.decoder(type_)
            for _ in range(3):
                assert decode(encode(value)) == value, type_

    def test_a_value_of_another_type_is_not_written(self, codec: Codec) -> None:
        for type_, value in self.unwritable:
            with pytest.raises(CodecError):
                codec.encoder(type_)(value)

    def test_bytes_of_another_type_tell_the_field_at_fault(self, codec: Codec) -> None:
        for written, value, wanted, path in self.unreadable:
            data = codec.encoder(written)(value)
            with pytest.raises(CodecError) as caught:
                codec.decoder(wanted)(data)

            assert path in caught.value.detail, (wanted, value)

    def test_hostile_bytes_are_refused(self, codec: Codec) -> None:
        for type_, data in self.hostile:
            with pytest.raises(CodecError) as caught:
                codec.decoder(type_)(data)

            assert len(caught.value.detail) < 2000, (type_, data[:20])

    def test_every_cut_of_a_message_is_refused_or_read(self, codec: Codec) -> None:
        for type_, value in self.cases:
            data = codec.encoder(type_)(value)[:200]
            for end in range(len(data)):
                _read(codec, type_, data[:end])

    def test_every_changed_byte_is_refused_or_read(self, codec: Codec) -> None:
        for type_, value in self.cases:
            data = codec.encoder(type_)(value)[:100]
            for place in range(len(data)):
                for flip in (0x01, 0x20, 0x80, 0xFF):
                    changed = bytes([data[place] ^ flip])
                    _read(codec, type_, data[:place] + changed + data[place + 1 :])


def _read(codec: Codec, type_: Any, data: bytes) -> None:
    """Read bytes that may make sense; the one error allowed is CodecError."""
    try:
        codec.decoder(type_)(data)
    except CodecError:
        return
