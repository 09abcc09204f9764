from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from micro import BadRequest, PayloadTooLarge, Service
from micro.errors import ConfigError
from micro.message import Message
from micro.transport import Socket
from micro.wire.compression import CONTENT_ENCODING, Compression, decompress, encodings
from micro.wire.limits import MAX_BODY_BYTES


class Text(BaseModel):
    text: str


TEXT = Text(text="to be or not to be " * 1000)


def talkative_service(compression: str) -> Service:
    service = Service("talk", settings={"compression": compression})

    @service.handler
    async def echo(text: Text) -> Text:
        return text

    @service.handler
    async def repeat(texts: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for text in texts:
            yield text

    return service


@pytest.fixture
def bytes_sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every body that a memory socket carries."""
    from micro.transport import memory

    sizes: list[int] = []
    plain = memory._Socket.send

    def send(self: Socket, message: Message) -> int:
        sizes.append(len(message.body))
        return plain(self, message)

    monkeypatch.setattr(memory._Socket, "send", send)
    return sizes


@pytest.mark.parametrize("name", encodings())
async def test_requests_and_answers_are_small_on_the_wire(name: str, bytes_sent: list[int]) -> None:
    async with talkative_service(name).running() as client:
        answer = await client.call("talk", "Talk.Echo", TEXT, Text)

    assert answer == TEXT
    assert len(bytes_sent) == 2
    assert max(bytes_sent) < 1000


@pytest.mark.parametrize("name", encodings())
async def test_items_of_a_stream_are_small_on_the_wire(name: str, bytes_sent: list[int]) -> None:
    async def texts() -> AsyncIterator[Text]:
        for _ in range(3):
            yield TEXT

    async with (
        talkative_service(name).running() as client,
        client.stream("talk", "Talk.Repeat", texts(), Text) as answers,
    ):
        assert [answer async for answer in answers] == [TEXT] * 3

    assert max(bytes_sent) < 1000


async def test_nothing_is_compressed_unless_it_is_asked_for(bytes_sent: list[int]) -> None:
    async with talkative_service("off").running() as client:
        await client.call("talk", "Talk.Echo", TEXT, Text)

    assert min(bytes_sent) > len(TEXT.text)


def test_a_small_body_stays_as_it_is() -> None:
    headers: dict[str, str] = {}

    assert Compression("gzip").compress(headers, b"small") == (headers, b"small")


def bomb(name: str, size: int) -> bytes:
    if name == "gzip":
        compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
        return compressor.compress(bytes(size)) + compressor.flush()
    from backports import zstd

    packed: bytes = zstd.compress(bytes(size))
    return packed


@pytest.mark.parametrize("name", encodings())
def test_a_body_that_expands_over_the_limit_is_refused(name: str) -> None:
    with pytest.raises(PayloadTooLarge):
        decompress({CONTENT_ENCODING: name}, bomb(name, MAX_BODY_BYTES + 1))


@pytest.mark.parametrize("name", encodings())
def test_a_body_that_expands_over_256_times_its_size_is_refused(name: str) -> None:
    with pytest.raises(PayloadTooLarge, match="expand"):
        decompress({CONTENT_ENCODING: name}, bomb(name, 20 << 20))


@pytest.mark.parametrize("name", encodings())
async def test_a_value_of_which_nearly_nothing_is_left_still_arrives(name: str) -> None:
    text = Text(text="x" * (5 << 20))
    async with talkative_service(name).running() as client:
        assert await client.call("talk", "Talk.Echo", text, Text) == text


@pytest.mark.parametrize("body", [b"", b"nonsense", zlib.compress(b"not gzip")])
@pytest.mark.parametrize("name", encodings())
def test_a_body_that_is_not_what_it_says_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        decompress({CONTENT_ENCODING: name}, body)


def test_an_unknown_encoding_is_refused_with_415() -> None:
    with pytest.raises(BadRequest) as caught:
        decompress({CONTENT_ENCODING: "snappy"}, b"x")

    assert caught.value.code == 415


def test_an_unknown_compression_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="snappy"):
        Compression.named("snappy")


@given(st.binary(min_size=0, max_size=5000), st.sampled_from(encodings()))
def test_whatever_is_compressed_comes_back(body: bytes, name: str) -> None:
    headers, small = Compression(name, 0).compress({}, body)

    assert (decompress(headers, small) if headers else small) == body


@given(st.binary(max_size=300), st.sampled_from(encodings()))
def test_garbage_never_raises_anything_but_a_typed_error(body: bytes, name: str) -> None:
    with suppress(BadRequest, PayloadTooLarge):
        assert len(decompress({CONTENT_ENCODING: name}, body)) <= MAX_BODY_BYTES
