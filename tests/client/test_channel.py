"""The client's side of one socket, over memory and a peer that speaks frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from micro.client.channel import Channel
from micro.client.pending import expire_reply
from micro.concurrency.timers import Timers
from micro.deadline import Deadline
from micro.errors import (
    ConnectionLost,
    DeadlineExceeded,
    MicroError,
    NoResponders,
    PayloadTooLarge,
    ResourceExhausted,
    SocketClosed,
)
from micro.message import Message
from micro.testing import Arrivals, Recorder
from micro.transport.contract import Socket
from micro.transport.memory import MemoryTransport
from micro.wire import chunks
from micro.wire.flow import WINDOW_ITEMS
from micro.wire.headers import (
    CHUNKED,
    CREDIT,
    EOS,
    ERROR,
    ID,
    SIGNAL,
    STREAM,
    TIMEOUT,
    TOPIC,
    error_headers,
)


class Pair:
    """A connection and the peer at its other end."""

    def __init__(self, native: bool = True, **limits: int) -> None:
        self.network = MemoryTransport(**limits)
        self.timers = Timers[asyncio.Future[Message]](expire_reply)
        self.ended: list[Channel] = []
        self.arrivals = Arrivals()
        self.channel = Channel(
            timers=self.timers,
            metadata={"native": "1"} if native else {},
            on_closed=self.ended.append,
        )

    async def __aenter__(self) -> Pair:
        self.listener = await self.network.listen(self.arrivals, address="peer")
        self.channel.attach(await self.network.dial("peer", self.channel))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.timers.close()
        self.channel.socket.close()
        await self.listener.aclose()

    async def peer(self) -> Socket:
        return (await self.arrivals.wait_for(1))[0]

    @property
    def heard(self) -> Recorder:
        return self.arrivals.recorders[0]

    async def reply(self, body: bytes = b"", **headers: str) -> None:
        (await self.peer()).send(Message(headers, body))

    def call(self, body: bytes = b"", deadline: Deadline | None = None) -> asyncio.Task[Message]:
        work = self.channel.call({}, body, deadline)
        return asyncio.get_running_loop().create_task(work)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with Pair() as pair:
        yield pair


async def test_each_reply_goes_to_the_call_with_its_id(pair: Pair) -> None:
    calls = [pair.call() for _ in range(3)]
    peer = await pair.peer()
    for message in reversed(await pair.heard.wait_for(3)):
        peer.send(Message({ID: message.headers[ID]}, message.headers[ID].encode()))

    assert [(await call).body for call in calls] == [b"1", b"2", b"3"]
    assert len(pair.channel) == 0


async def test_replies_that_nobody_asked_for_are_counted_and_dropped(pair: Pair) -> None:
    call = pair.call()
    peer = await pair.peer()
    for id in ("2", "", "1", "1"):
        peer.send(Message({ID: id}, b"x"))
    peer.send(Message({}, b"x"))
    await call
    last = pair.call()
    await pair.heard.wait_for(2)
    peer.send(Message({ID: "2"}, b"x"))

    await last
    assert pair.channel.counters.late_replies == 4


async def test_a_call_that_is_not_answered_ends_at_its_deadline(pair: Pair) -> None:
    with pytest.raises(DeadlineExceeded, match="no answer in time"):
        await pair.channel.call({}, b"", Deadline.after(0.01))
    messages = await pair.heard.wait_for(2)

    assert 0 < int(messages[0].headers[TIMEOUT]) <= 10_000_000
    assert messages[1].headers == {ID: "1", SIGNAL: "cancel"}


async def test_a_call_that_is_given_up_is_cancelled_at_the_peer(pair: Pair) -> None:
    call = pair.call()
    await pair.peer()
    call.cancel()
    messages = await pair.heard.wait_for(2)

    assert messages[1].headers == {ID: "1", SIGNAL: "cancel"}
    assert len(pair.channel) == 0


async def test_pieces_of_an_answer_that_nobody_waits_for_are_not_kept(pair: Pair) -> None:
    begun = {CHUNKED: "40000000"}
    call = pair.call()
    peer = await pair.peer()
    peer.send(Message({ID: "7", **begun}, b"x"))
    peer.send(Message({ID: "1", **begun}, b"x"))
    peer.send(Message({ID: "1", ERROR: "in place of the rest"}, b""))
    await call

    assert pair.channel.counters.late_replies == 1
    chunker = pair.channel._assembler._chunker
    assert chunker is not None
    assert (chunker._incoming, chunker._budget.held) == ({}, 0)


async def test_a_message_that_is_too_large_is_refused_and_forgotten() -> None:
    async with Pair(native=False, max_payload=1000) as pair:
        with pytest.raises(PayloadTooLarge) as caught:
            await pair.channel.call({}, b"x" * 2000, None)

        assert caught.value.refused
        assert len(pair.channel) == 0


async def test_a_full_socket_is_waited_for() -> None:
    async with Pair(max_pending=2) as pair:
        calls = [pair.call() for _ in range(9)]
        peer = await pair.peer()
        for message in await pair.heard.wait_for(9):
            peer.send(Message({ID: message.headers[ID]}, b""))
            await asyncio.sleep(0)

        await asyncio.gather(*calls)


async def test_the_wait_for_room_ends_at_the_deadline(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        largest = 1 << 30

        def send(self, message: Message) -> int:
            from micro.errors import ResourceExhausted

            raise ResourceExhausted("full")

        async def drain(self) -> None:
            await asyncio.sleep(0)

        def close(self) -> None: ...

    pair.channel.socket.close()
    pair.channel.error = None
    pair.channel.attach(Full())  # type: ignore[arg-type]
    with pytest.raises(DeadlineExceeded) as caught:
        await pair.channel.call({}, b"", Deadline.after(0.02))

    assert len(pair.channel) == 0
    assert isinstance(caught.value, MicroError)


async def test_the_wait_of_a_call_without_a_deadline_ends_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("micro.client.pending._MAX_CAPACITY_WAIT_SECONDS", 0.05)
    async with Pair() as pair:
        monkeypatch.setattr(type(pair.channel.socket), "send", _full)
        with pytest.raises(ResourceExhausted, match="full") as raised:
            await pair.call(deadline=None)

    assert raised.value.refused


async def test_an_error_of_the_transports_own_is_not_changed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ConnectionLost("gone")

    def fail(socket: Socket, message: Message) -> int:
        raise shared

    with monkeypatch.context() as patch:
        patch.setattr(type(pair.channel.socket), "send", fail)
        with pytest.raises(ConnectionLost, match="gone") as raised:
            await pair.call()

    assert raised.value.refused
    assert not shared.refused


def _full(socket: Socket, message: Message) -> int:
    raise ResourceExhausted("full")


async def test_it_knows_how_many_replies_it_waits_for(pair: Pair) -> None:
    calls = [pair.call() for _ in range(3)]
    await pair.peer()
    assert pair.channel.awaited == 3

    await pair.reply(**{ID: "2"})
    await calls[1]
    assert pair.channel.awaited == 2
    for call in (calls[0], calls[2]):
        call.cancel()
    await asyncio.wait(calls)
    assert pair.channel.awaited == 0


async def test_where_nobody_listens_nothing_ran(pair: Pair) -> None:
    await pair.listener.drain()
    results = await asyncio.gather(pair.call(), pair.call(), return_exceptions=True)

    assert all(isinstance(result, NoResponders) and result.refused for result in results)
    assert pair.ended == [pair.channel]


async def test_what_arrived_before_the_listener_went_may_have_run(pair: Pair) -> None:
    early = pair.call()
    await (await pair.peer()).drain()
    await pair.listener.drain()
    late = pair.call()
    results = await asyncio.gather(early, late, return_exceptions=True)

    assert type(results[0]) is ConnectionLost
    assert not results[0].refused
    assert type(results[1]) is NoResponders


@pytest.mark.parametrize(("calls", "refused"), [(1, True), (3, False)])
async def test_without_bundles_only_a_call_that_is_alone_surely_did_not_run(
    pair: Pair, calls: int, refused: bool
) -> None:
    tasks = [pair.call() for _ in range(calls)]
    await pair.peer()
    pair.channel.closed(NoResponders("gone"))
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [result.refused for result in results] == [refused] * calls


async def test_beside_a_stream_no_call_is_alone(pair: Pair) -> None:
    await pair.channel.open_stream({}, b"", None)
    call = pair.call()
    await pair.peer()
    pair.channel.closed(NoResponders("gone"))

    with pytest.raises(ConnectionLost) as caught:
        await call
    assert not caught.value.refused


async def test_a_close_frame_tells_which_requests_were_not_received(pair: Pair) -> None:
    tasks = []
    for number in range(1, 4):
        tasks.append(pair.call(b"%d" % number))
        await asyncio.sleep(0)  # it is sent
        await (await pair.peer()).drain()  # in a bundle of its own
    closed = SocketClosed("closed by the peer")
    closed.bundle = 2
    pair.channel.closed(closed)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [ConnectionLost, SocketClosed, SocketClosed]
    assert [result.refused for result in results] == [False, True, True]


async def test_a_close_frame_cannot_take_back_what_was_answered(pair: Pair) -> None:
    tasks = []
    for number in range(1, 4):
        tasks.append(pair.call(b"%d" % number))
        await asyncio.sleep(0)  # it is sent
        peer = await pair.peer()
        await peer.drain()  # in a bundle of its own
    peer.send(Message({ID: "2"}, b"answer"))
    await tasks[1]
    forged = SocketClosed("closed by the peer")
    forged.bundle = 1
    pair.channel.closed(forged)
    first, _, third = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(first), type(third)] == [ConnectionLost, ConnectionLost]
    assert not first.refused
    assert not third.refused


async def test_a_socket_that_ends_ends_its_calls_and_streams(pair: Pair) -> None:
    call = pair.call()
    stream = await pair.channel.open_stream({}, b"", None)
    await pair.peer()
    pair.network.close()

    with pytest.raises(ConnectionLost):
        await call
    with pytest.raises(ConnectionLost):
        await stream.window.receive()
    with pytest.raises(ConnectionLost):
        await stream.send(b"")


async def test_a_call_on_a_socket_that_has_ended_was_never_sent(pair: Pair) -> None:
    pair.channel.ping()
    await pair.peer()
    pair.network.close()
    with pytest.raises(ConnectionLost) as caught:
        await pair.channel.call({}, b"", None)

    assert caught.value.refused


async def test_a_call_between_the_close_and_the_news_of_it_was_never_sent(pair: Pair) -> None:
    pair.channel.socket.close()
    with pytest.raises(SocketClosed) as caught:
        await pair.channel.call({}, b"", None)

    assert caught.value.refused
    assert len(pair.channel) == 0


async def test_an_error_of_a_broken_reply_does_not_reach_other_calls(pair: Pair) -> None:
    calls = [pair.call() for _ in range(2)]
    peer = await pair.peer()
    await pair.heard.wait_for(2)
    peer.send(Message({ID: "1", SIGNAL: "nonsense", CREDIT: "²"}, b""))
    peer.send(Message({ID: "2"}, b"fine"))

    assert (await calls[1]).body == b"fine"
    calls[0].cancel()


@pytest.mark.parametrize("signal", ["progress", "credit", ""])
async def test_a_signal_is_never_taken_for_an_answer(pair: Pair, signal: str) -> None:
    call = pair.call()
    await pair.peer()
    await pair.heard.wait_for(1)
    stream = await pair.channel.open_stream({}, b"", None)
    for id in ("1", "2"):
        await pair.reply(b"no answer", **{ID: id, SIGNAL: signal})
    await pair.reply(b"item", **{ID: "2"})
    await pair.reply(b"answer", **{ID: "1"})

    assert (await call).body == b"answer"
    assert await stream.window.receive() == b"item"


async def test_a_stream_opens_with_credit_and_the_time_that_is_left(pair: Pair) -> None:
    await pair.channel.open_stream({"zone": "a"}, b"first", Deadline.after(5))
    await pair.peer()
    (opening,) = await pair.heard.wait_for(1)

    assert opening.body == b"first"
    assert opening.headers[STREAM] == opening.headers[ID] == "1"
    assert opening.headers[CREDIT] == str(WINDOW_ITEMS)
    assert int(opening.headers[TIMEOUT]) > 4e9
    assert opening.headers["zone"] == "a"


async def test_items_of_a_stream_say_its_id_and_nothing_more(pair: Pair) -> None:
    stream = await pair.channel.open_stream({"zone": "a"}, b"", None)
    await pair.peer()
    await pair.reply(**{ID: "1", SIGNAL: "credit", CREDIT: "1"})
    await stream.send(b"item")
    messages = await pair.heard.wait_for(2)

    assert messages[1] == Message({ID: "1", STREAM: "1"}, b"item")


@pytest.mark.parametrize("credit", ["²", "-5", "", "x"])
async def test_credit_without_sense_grants_nothing(pair: Pair, credit: str) -> None:
    stream = await pair.channel.open_stream({}, b"", None)
    await pair.peer()
    await pair.reply(**{ID: "1", SIGNAL: "credit", CREDIT: credit})
    await pair.reply(b"answer", **{ID: "1"})

    assert await stream.window.receive() == b"answer"
    assert stream.credit._items == 0


async def test_a_peer_that_ignores_its_credit_is_cut_off(pair: Pair) -> None:
    stream = await pair.channel.open_stream({}, b"", None)
    await pair.peer()
    for _ in range(WINDOW_ITEMS + 1):
        await pair.reply(b"x", **{ID: "1"})
    messages = await pair.heard.wait_for(2)

    assert messages[1].headers == {ID: "1", SIGNAL: "cancel"}
    assert stream.window.ended


async def test_leaving_a_stream_is_told_once(pair: Pair) -> None:
    stream = await pair.channel.open_stream({}, b"", None)
    await pair.peer()
    stream.close()
    stream.close()
    pair.channel.ping()
    messages = await pair.heard.wait_for(3)

    assert [message.headers.get(SIGNAL) for message in messages] == [None, "cancel", "ping"]
    assert not pair.channel.streaming


async def test_a_stream_that_has_ended_is_not_left_again(pair: Pair) -> None:
    stream = await pair.channel.open_stream({}, b"", None)
    await pair.peer()
    await pair.reply(**error_headers({ID: "1"}, EOS))
    assert await stream.window.receive() is None
    stream.close()
    pair.channel.ping()
    messages = await pair.heard.wait_for(2)

    assert [message.headers.get(SIGNAL) for message in messages] == [None, "ping"]


async def test_items_after_the_end_are_late(pair: Pair) -> None:
    stream = await pair.channel.open_stream({}, b"", None)
    await pair.peer()
    await pair.reply(**error_headers({ID: "1"}, EOS))
    await pair.reply(b"late", **{ID: "1"})
    assert await stream.window.receive() is None
    call = pair.call()
    await pair.reply(**{ID: "2"})
    await call

    assert pair.channel.counters.late_replies == 1


async def test_a_go_micro_peer_gets_both_spellings_of_the_id_and_no_signals() -> None:
    async with Pair(native=False) as pair:
        call = pair.call()
        await pair.peer()
        (request,) = await pair.heard.wait_for(1)
        await pair.reply(b"done", **{"Micro-ID": "1", "X-Micro-Id": "1"})
        assert (await call).body == b"done"
        given_up = pair.call()
        await pair.heard.wait_for(2)
        given_up.cancel()
        await asyncio.sleep(0)
        pair.channel.ping()
        messages = await pair.heard.wait_for(3)

        assert request.headers[ID] == request.headers["Micro-ID"] == "1"
        assert TOPIC in messages[-1].headers
        assert not any(SIGNAL in message.headers for message in messages)


async def test_a_go_micro_peers_stream_ends_with_its_word_for_it() -> None:
    async with Pair(native=False) as pair:
        stream = await pair.channel.open_stream({}, b"{}", None)
        await stream.send(b"request")
        stream.finish()
        stream.close()
        await pair.peer()
        messages = await pair.heard.wait_for(3)

        assert [message.headers.get(ERROR) for message in messages] == [None, None, EOS]


async def test_a_close_frame_cannot_disown_what_was_answered(pair: Pair) -> None:
    answered = pair.call()
    await pair.peer()
    await pair.reply(**{ID: "1"})
    await answered
    running = pair.call()
    await pair.heard.wait_for(2)
    forged = SocketClosed("closed by the peer")
    forged.bundle = 1
    pair.channel.closed(forged)

    with pytest.raises(ConnectionLost) as caught:
        await running
    assert not caught.value.refused


async def test_an_answer_that_stops_arriving_ends_its_call(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_STALL_SECONDS", 0.05)
    call = pair.call()
    stream = await pair.channel.open_stream({}, b"", None)
    await pair.peer()
    for id in ("1", "2"):
        await pair.reply(b"x", **{ID: id, CHUNKED: "40000000"})

    with pytest.raises(ConnectionLost, match="1 of 40000000 bytes"):
        await call
    with pytest.raises(ConnectionLost, match="1 of 40000000 bytes"):
        await stream.window.receive()
