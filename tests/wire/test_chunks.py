from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from micro import (
    Client,
    DeadlineExceeded,
    MicroError,
    PayloadTooLarge,
    ResourceExhausted,
    Service,
)
from micro.concurrency.budget import ByteBudget
from micro.message import Message
from micro.wire import chunks
from micro.wire.chunks import Chunker
from micro.wire.flow import ReceiveWindow
from micro.wire.headers import CHUNKED, ID, SIGNAL
from micro.wire.limits import MAX_BODY_BYTES, WINDOW_BYTES
from tests.engine import until

MEGABYTE = 1_000_000


class Text(BaseModel):
    text: str


def large_service() -> Service:
    service = Service("large")

    @service.handler
    async def echo(text: Text) -> Text:
        return text

    @service.handler
    async def repeat(text: Text) -> AsyncIterator[Text]:
        for _ in range(3):
            yield text

    @service.handler
    async def measure(texts: AsyncIterator[Text]) -> Text:
        total = 0
        async for text in texts:
            total += len(text.text)
        return Text(text=str(total))

    return service


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with large_service().running() as client:
        yield client


@pytest.mark.parametrize("size", [MEGABYTE, 5 * MEGABYTE, 20 * MEGABYTE])
async def test_a_call_may_be_larger_than_a_message(client: Client, size: int) -> None:
    answer = await client.call("large", "Large.Echo", Text(text="x" * size), Text, timeout=20)

    assert len(answer.text) == size


async def test_a_stream_may_give_items_larger_than_a_message(client: Client) -> None:
    text = Text(text="x" * 3 * MEGABYTE)
    async with client.stream("large", "Large.Repeat", text, Text) as answers:
        sizes = [len(answer.text) async for answer in answers]

    assert sizes == [3 * MEGABYTE] * 3


async def test_a_stream_may_take_items_larger_than_a_message(client: Client) -> None:
    async def texts() -> AsyncIterator[Text]:
        for _ in range(3):
            yield Text(text="y" * 2 * MEGABYTE)

    async with client.stream("large", "Large.Measure", texts(), Text) as answers:
        answer = await answers.receive()

    assert answer.text == str(6 * MEGABYTE)


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(PayloadTooLarge):
        await client.call("large", "Large.Echo", Text(text="x" * (MAX_BODY_BYTES + 1)), Text)


async def test_a_large_call_ends_at_its_deadline_and_harms_no_other(client: Client) -> None:
    text = Text(text="x" * 20 * MEGABYTE)
    with pytest.raises(DeadlineExceeded):
        await client.call("large", "Large.Echo", text, Text, timeout=0.01)

    answer = await client.call("large", "Large.Echo", Text(text="small"), Text)
    assert answer.text == "small"


class Silent:
    """A socket of which only what is said on it matters."""

    largest = 2000

    def __init__(self) -> None:
        self.said: list[dict[str, str]] = []
        self.stalled: list[tuple[str, MicroError]] = []

    def say(self, headers: dict[str, str]) -> None:
        self.said.append(headers)


def chunker_on(socket: Silent, budget: int = 128 << 20) -> Chunker:
    return Chunker(
        socket,  # type: ignore[arg-type]  # only its size matters
        socket.say,
        budget=ByteBudget(budget),
        on_stalled=lambda headers, error: socket.stalled.append((headers[ID], error)),
    )


@pytest.mark.parametrize("announced", [str(MAX_BODY_BYTES + 1), "-1", "many", "9" * 30, "٣"])
async def test_an_announcement_that_cannot_be_met_is_refused(announced: str) -> None:
    socket = Silent()
    chunker = chunker_on(socket)

    with pytest.raises(PayloadTooLarge):
        chunker.receive(Message({ID: "1", CHUNKED: announced}, b"x"))


async def test_a_piece_that_nobody_announced_is_dropped() -> None:
    socket = Silent()
    chunker = chunker_on(socket)

    assert chunker.receive(Message({ID: "1", SIGNAL: "piece"}, b"x")) is None
    assert socket.said == []


async def test_more_than_was_announced_is_refused() -> None:
    socket = Silent()
    chunker = chunker_on(socket)
    chunker.receive(Message({ID: "1", CHUNKED: "3"}, b"xx"))

    with pytest.raises(PayloadTooLarge):
        chunker.receive(Message({ID: "1", SIGNAL: "piece"}, b"xx"))


async def test_announcements_of_little_cannot_wait_without_number() -> None:
    socket = Silent()
    chunker = chunker_on(socket)
    refused = 0
    for number in range(20_000):
        try:
            chunker.receive(Message({ID: str(number), CHUNKED: "1"}, b""))
        except ResourceExhausted:
            refused += 1

    assert refused == 20_000 - len(chunker._incoming) > 3000


async def test_partial_bodies_hold_no_more_than_their_budget() -> None:
    socket = Silent()
    chunker = chunker_on(socket, budget=100_000)
    chunker.receive(Message({ID: "1", CHUNKED: "90000"}, b"x" * 40_000))

    with pytest.raises(ResourceExhausted):
        chunker.receive(Message({ID: "2", CHUNKED: "90000"}, b"x" * 40_000))
    assert list(chunker._incoming) == ["1"]
    chunker.shutdown()
    assert chunker._budget.held == 0


async def test_a_body_that_stops_arriving_is_dropped_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "_STALL_SECONDS", 0.05)
    socket = Silent()
    chunker = chunker_on(socket)
    chunker.receive(Message({ID: "1", CHUNKED: "5"}, b"xx"))
    await until(lambda: bool(socket.stalled))
    ((id, error),) = socket.stalled

    assert (id, error.detail) == ("1", "2 of 5 bytes arrived, then no more")
    assert error.refused
    assert (chunker._incoming, chunker._budget.held) == ({}, 0)


async def test_a_full_window_holds_up_the_next_chunk() -> None:
    socket, window = Silent(), ReceiveWindow(None)
    chunker = chunker_on(socket)
    window.put(b"x" * WINDOW_BYTES)
    chunker.receive(Message({ID: "1", CHUNKED: "5"}, b"xx"), window)
    assert socket.said == []
    await window.receive()

    assert socket.said == [{ID: "1", SIGNAL: "more"}]
    chunker.shutdown()
