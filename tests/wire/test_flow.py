# ruff: noqa: PERF401, PT012, SIM117  a stream raises when it is read, inside its block
"""Streams of all three kinds, over memory, and the two halves that they are made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from micro import (
    BadRequest,
    Context,
    DeadlineExceeded,
    InternalError,
    MemoryBackend,
    MicroError,
    NotFound,
    ResourceExhausted,
    Service,
    Unavailable,
)
from micro.concurrency.budget import ByteBudget, process_budget
from micro.errors import ServiceUnavailable, TransportError
from micro.wire.errors import error_from_wire
from micro.wire.flow import WINDOW_ITEMS, ReceiveWindow, SendCredit
from micro.wire.headers import ERROR, ID, SIGNAL, STREAM
from micro.wire.limits import WINDOW_BYTES
from tests.engine import ANN, Award, Balance, Gauge, raw, running


class Streams:
    """A service with one endpoint of each kind, and a look inside."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.ended = asyncio.Event()
        self.error: BaseException | None = None
        self.gauge = Gauge()
        service = self.service = Service("points")

        @service.handler
        async def count(request: int) -> AsyncIterator[int]:
            try:
                for number in range(request):
                    self.sent += 1
                    yield number
            except BaseException as error:
                self.error = error
                raise
            finally:
                self.ended.set()

        @service.handler
        async def total(awards: AsyncIterator[Award]) -> Balance:
            total = 0
            try:
                async for award in awards:
                    self.received += 1
                    total += award.points
            except BaseException as error:
                self.error = error
                raise
            finally:
                self.ended.set()
            return Balance(user="all", points=total)

        @service.handler
        async def echo(awards: AsyncIterator[Award]) -> AsyncIterator[Balance]:
            try:
                async for award in awards:
                    yield Balance(user=award.user, points=award.points)
            finally:
                self.ended.set()

        @service.handler
        async def ping() -> str:
            return "pong"

    async def until_ended(self) -> None:
        async with asyncio.timeout(5):
            await self.ended.wait()


@pytest.fixture
async def streams() -> Streams:
    return Streams()


async def awards(count: int) -> AsyncIterator[Award]:
    for points in range(count):
        yield Award(user="ann", points=points)


async def sleepless(turns: int) -> None:
    """Let everything that can happen happen."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", [0, 1, WINDOW_ITEMS - 1, WINDOW_ITEMS, WINDOW_ITEMS + 1, 5000])
async def test_a_server_stream_gives_everything_in_order(streams: Streams, count: int) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Count", count, int) as numbers:
            assert [number async for number in numbers] == list(range(count))


@pytest.mark.parametrize("count", [0, 1, WINDOW_ITEMS, WINDOW_ITEMS + 1, 5000])
async def test_a_client_stream_takes_everything(streams: Streams, count: int) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Total", awards(count), Balance) as answers:
            answer = await answers.receive()

    assert answer.points == sum(range(count))


@pytest.mark.parametrize("count", [0, 1, 2000])
async def test_a_bidirectional_stream_answers_as_it_is_asked(streams: Streams, count: int) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Echo", awards(count), Balance) as answers:
            assert [answer.points async for answer in answers] == list(range(count))


async def test_requests_may_be_sent_by_hand(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Echo", None, Balance) as stream:
            for points in range(3):
                await stream.send(Award(user="ann", points=points))
                assert (await stream.receive()).points == points
            stream.finish()
            stream.finish()

            assert [answer async for answer in stream] == []


async def test_one_request_may_open_a_stream_of_them(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Total", ANN, Balance) as stream:
            await stream.send(ANN)
            stream.finish()

            assert (await stream.receive()).points == 10


async def test_a_half_close_leaves_the_other_half_open(streams: Streams) -> None:
    service = Service("late")

    @service.handler
    async def echo(awards: AsyncIterator[Award]) -> AsyncIterator[int]:
        count = 0
        async for _ in awards:
            count += 1
        for number in range(count):
            yield number

    async with running(service) as client:
        async with client.stream("late", "Late.Echo", awards(3), int) as stream:
            assert [number async for number in stream] == [0, 1, 2]


async def test_many_streams_share_one_connection(streams: Streams) -> None:
    async with running(streams.service) as client:

        async def read(count: int) -> list[int]:
            async with client.stream("points", "Points.Count", count, int) as numbers:
                return [number async for number in numbers]

        results = await asyncio.gather(*(read(count) for count in range(50)))
        (node,) = client.nodes("points")
        assert node.in_flight == 0

    assert results == [list(range(count)) for count in range(50)]


@pytest.mark.parametrize("kind", ["Count", "Total"])
async def test_items_that_fill_the_socket_are_sent_all_the_same(kind: str) -> None:
    service, text = Service("points"), "x" * 50_000

    @service.handler
    async def count(request: int) -> AsyncIterator[str]:
        for _ in range(request):
            yield text

    @service.handler
    async def total(texts: AsyncIterator[str]) -> int:
        return sum([len(text) async for text in texts])

    async def texts() -> AsyncIterator[str]:
        for _ in range(100):
            yield text

    network = MemoryBackend(max_pending_bytes=200_000)
    async with running(service, backend=network) as client:
        if kind == "Count":
            async with client.stream("points", "Points.Count", 100, str) as answers:
                assert sum([len(answer) async for answer in answers]) == 5_000_000
        else:
            async with client.stream("points", "Points.Total", texts(), int) as totals:
                assert await totals.receive() == 5_000_000


async def test_a_slow_reader_holds_up_its_own_stream_only(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Count", 10_000, int) as slow:
            assert await slow.receive() == 0
            await sleepless(500)
            held = streams.sent
            async with client.stream("points", "Points.Count", 1000, int) as quick:
                assert len([number async for number in quick]) == 1000
            assert await client.call("points", "Points.Ping", None, str) == "pong"
            streams.sent = held

            assert held <= 2 * WINDOW_ITEMS
            assert [number async for number in slow] == list(range(1, 10_000))


async def test_a_slow_handler_holds_up_whoever_sends_to_it() -> None:
    service, gauge = Service("points"), Gauge()

    @service.handler
    async def total(awards: AsyncIterator[Award]) -> int:
        await gauge.wait()
        return len([award async for award in awards])

    given = 0

    async def many() -> AsyncIterator[Award]:
        nonlocal given
        for _ in range(5000):
            given += 1
            yield ANN

    async with running(service) as client:
        async with client.stream("points", "Points.Total", many(), int) as stream:
            await gauge.until(started=1)
            await sleepless(500)
            assert given <= WINDOW_ITEMS + 1
            gauge.go.set()

            assert await stream.receive() == 5000


async def test_a_client_that_ignores_its_credit_is_cut_off(streams: Streams) -> None:
    async with running(streams.service) as client, raw(client) as peer:
        peer.open("Points.Count", b"100000", credit="1")
        await peer.replies(1)
        for _ in range(WINDOW_ITEMS + 2):
            peer.send({ID: "1", STREAM: "1"}, b"1")
        peer.send({ID: "1", SIGNAL: "credit", "Micro-Credit": "10"})
        await peer.recorder.wait_for(2)

        assert error_from_wire(peer.recorder.messages[-1].headers[ERROR]).code in (429, 499)
        assert await client.call("points", "Points.Ping", None, str) == "pong"


async def test_leaving_a_stream_cancels_its_handler(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Count", 10**9, int) as numbers:
            async for number in numbers:
                if number == 10:
                    break

        await streams.until_ended()
        assert isinstance(streams.error, asyncio.CancelledError | GeneratorExit)


async def test_an_error_of_the_readers_own_cancels_the_handler(streams: Streams) -> None:
    class Boom(Exception):
        pass

    async with running(streams.service) as client:
        with pytest.raises(Boom):
            async with client.stream("points", "Points.Count", 10**9, int) as numbers:
                async for _ in numbers:
                    raise Boom

        await streams.until_ended()


async def test_leaving_a_stream_of_requests_cancels_its_handler(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Total", None, Balance) as stream:
            await stream.send(ANN)

        await streams.until_ended()
        assert isinstance(streams.error, asyncio.CancelledError)


async def test_cancelling_the_reader_cancels_the_handler(streams: Streams) -> None:
    first = asyncio.Event()

    async with running(streams.service) as client:

        async def read() -> None:
            async with client.stream("points", "Points.Count", 10**9, int) as numbers:
                await numbers.receive()
                first.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(read())
        await first.wait()
        task.cancel()

        await streams.until_ended()


async def test_a_client_that_vanishes_takes_its_stream_with_it(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with raw(client) as peer:
            peer.open("Points.Count", b"1000000000")
            await peer.replies(1)

        await streams.until_ended()


async def test_what_was_left_can_be_read_no_more(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Count", 10**9, int) as numbers:
            await numbers.receive()
        with pytest.raises(MicroError):
            async with asyncio.timeout(5):
                async for _ in numbers:
                    pass


async def test_what_was_left_can_be_written_no_more(streams: Streams) -> None:
    async with running(streams.service) as client:
        async with client.stream("points", "Points.Echo", None, Balance) as stream:
            await stream.send(ANN)
            await stream.receive()
        with pytest.raises(MicroError):
            await asyncio.wait_for(stream.send(ANN), 5)


async def test_a_handler_that_returns_early_ends_the_stream_for_the_sender() -> None:
    service = Service("points")

    @service.handler
    async def first(awards: AsyncIterator[Award]) -> Award:
        async for award in awards:
            return award
        raise NotFound("nothing came")

    async with running(service) as client:
        async with client.stream("points", "Points.First", awards(10**6), Award) as stream:
            assert (await stream.receive()).points == 0
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            with pytest.raises(MicroError):
                await stream.send(ANN)


async def test_an_error_in_the_middle_comes_after_what_was_sent() -> None:
    service = Service("points")

    @service.handler
    async def fail() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise NotFound("no more")

    got = []
    async with running(service) as client:
        with pytest.raises(NotFound, match="no more"):
            async with client.stream("points", "Points.Fail", None, int) as numbers:
                async for number in numbers:
                    got.append(number)

    assert got == [1, 2]


async def test_an_unforeseen_exception_in_a_stream_is_logged_and_opaque(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("points")

    @service.handler
    async def fail() -> AsyncIterator[int]:
        yield 1
        raise ValueError("secret")

    async with running(service) as client:
        with pytest.raises(InternalError) as caught:
            async with client.stream("points", "Points.Fail", None, int) as numbers:
                async for _ in numbers:
                    pass

    assert "secret" not in str(caught.value)
    assert any(record.exc_info for record in caplog.records)


async def test_an_item_that_does_not_fit_is_the_callers_fault(streams: Streams) -> None:
    async with running(streams.service) as client:
        with pytest.raises(BadRequest, match="points"):
            async with client.stream("points", "Points.Total", None, Balance) as stream:
                await stream.send(ANN)
                await stream.send({"user": "ann", "points": "many"})
                await stream.receive()

    assert streams.received == 1


async def test_a_first_request_that_does_not_fit_is_not_handled(streams: Streams) -> None:
    async with running(streams.service) as client:
        with pytest.raises(BadRequest):
            async with client.stream("points", "Points.Count", "many", int) as numbers:
                await numbers.receive()

    assert not streams.ended.is_set()


async def test_an_item_that_cannot_be_written_is_the_handlers_fault() -> None:
    service = Service("points")

    @service.handler
    async def fail() -> AsyncIterator[Balance]:
        yield object()  # type: ignore[misc]

    async with running(service) as client:
        with pytest.raises(InternalError):
            async with client.stream("points", "Points.Fail", None, Balance) as answers:
                await answers.receive()


async def test_an_error_of_the_senders_own_is_the_senders(streams: Streams) -> None:
    class Boom(Exception):
        pass

    async def broken() -> AsyncIterator[Award]:
        yield ANN
        raise Boom

    async with running(streams.service) as client:
        with pytest.raises(Boom):
            async with client.stream("points", "Points.Total", broken(), Balance) as stream:
                await stream.receive()

        await streams.until_ended()


async def test_an_unknown_stream_is_not_found(streams: Streams) -> None:
    async with running(streams.service) as client:
        with pytest.raises(NotFound, match=r"Points\.Nope"):
            async with client.stream("points", "Points.Nope", None, int) as stream:
                await stream.receive()
        with pytest.raises(ServiceUnavailable, match="nobody"):
            async with client.stream("nobody", "Points.Nope", None, int):
                pass


async def test_a_stream_that_ends_without_the_answer_says_so() -> None:
    service = Service("points")

    @service.handler
    async def nothing() -> AsyncIterator[int]:
        return
        yield 1

    async with running(service) as client:
        with pytest.raises(MicroError, match="without an answer"):
            async with client.stream("points", "Points.Nothing", None, int) as stream:
                await stream.receive()


async def test_the_end_of_the_server_ends_the_stream_with_an_error() -> None:
    service = Service("points", settings={"shutdown_timeout": 0})
    caller, network = Service("caller"), MemoryBackend()

    @service.handler
    async def forever() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async with caller.running(network) as client:
        with pytest.raises(Unavailable):
            async with service.running(network):
                stack = client.stream("points", "Points.Forever", None, int)
                stream = await stack.__aenter__()
                await stream.receive()
            await stream.receive()
        await stack.__aexit__(None, None, None)


async def test_a_stream_too_many_is_refused() -> None:
    service = Service("points", settings={"max_streams": 1, "max_queue": 0})

    @service.handler
    async def forever() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async with running(service) as client:
        async with client.stream("points", "Points.Forever", None, int) as one:
            await one.receive()
            with pytest.raises(ResourceExhausted):
                async with client.stream("points", "Points.Forever", None, int) as other:
                    await other.receive()


async def test_a_stream_has_no_limit_unless_it_is_given_one() -> None:
    service = Service("points")

    @service.handler
    async def remaining(ctx: Context) -> AsyncIterator[float | None]:
        yield ctx.remaining()

    async with running(service) as client:
        async with client.stream("points", "Points.Remaining", None, float | None) as free:
            assert await free.receive() is None
        stream = client.stream("points", "Points.Remaining", None, float | None, timeout=5)
        async with stream as bound:
            assert 4 < (await bound.receive() or 0) <= 5


async def test_a_stream_that_takes_too_long_is_ended_at_both_ends(streams: Streams) -> None:
    async with running(streams.service) as client:
        with pytest.raises(DeadlineExceeded):
            async with client.stream("points", "Points.Total", None, Balance, timeout=0.05) as s:
                await s.receive()

        await streams.until_ended()


async def test_a_timeout_of_the_readers_own_is_not_ours(streams: Streams) -> None:
    async with running(streams.service) as client:
        with pytest.raises(TimeoutError) as caught:
            async with client.stream("points", "Points.Total", None, Balance, timeout=5) as stream:
                async with asyncio.timeout(0.001):
                    await stream.receive()

    assert not isinstance(caught.value, MicroError)


async def test_what_flowed_in_before_the_end_can_still_be_read() -> None:
    window = ReceiveWindow(None)
    window.put(b"1")
    window.end(TransportError("gone"))

    assert await window.receive() == b"1"
    for _ in range(2):
        with pytest.raises(TransportError):
            await window.receive()


async def test_only_the_first_end_counts() -> None:
    window = ReceiveWindow(None)
    window.end()
    window.end(TransportError("gone"))
    window.put(b"late")

    assert await window.receive() is None


async def test_reading_grants_room_in_portions() -> None:
    granted: list[tuple[int, int]] = []
    window = ReceiveWindow(lambda *credit: granted.append(credit), limit=10)
    for _ in range(10):
        window.put(b"x")
    for _ in range(10):
        await window.receive()

    assert granted == [(5, 5), (5, 5)]


async def test_one_item_over_the_limit_ends_the_inflow() -> None:
    window = ReceiveWindow(None, limit=2)

    assert [window.put(b"x") for _ in range(3)] == [True, True, False]
    assert [await window.receive(), await window.receive()] == [b"x", b"x"]
    with pytest.raises(ResourceExhausted):
        await window.receive()


async def test_giving_up_a_read_loses_nothing() -> None:
    window = ReceiveWindow(None)
    reading = asyncio.ensure_future(window.receive())
    await asyncio.sleep(0)
    window.put(b"1")
    reading.cancel()
    await asyncio.sleep(0)

    assert await window.receive() == b"1"


async def test_an_outflow_without_room_waits_for_it() -> None:
    credit = SendCredit(1)
    await credit.acquire()
    waiting = asyncio.ensure_future(credit.acquire())
    await sleepless(3)
    assert not waiting.done()
    credit.grant(1)

    await waiting


async def test_an_outflow_that_fails_tells_those_who_wait_and_those_who_come() -> None:
    credit = SendCredit(0)
    waiting = asyncio.ensure_future(credit.acquire())
    await asyncio.sleep(0)
    credit.fail(TransportError("gone"))

    with pytest.raises(TransportError):
        await waiting
    with pytest.raises(TransportError):
        await credit.acquire()


async def test_an_outflow_to_a_peer_without_credit_never_waits() -> None:
    credit = SendCredit(None)
    credit.grant(5)
    for _ in range(1000):
        await credit.acquire()


async def test_a_window_grants_bytes_before_half_of_its_items_were_received() -> None:
    granted: list[tuple[int, int]] = []
    window = ReceiveWindow(lambda *credit: granted.append(credit))
    for _ in range(2):
        window.put(bytes(WINDOW_BYTES))
    await window.receive()

    assert granted == [(1, WINDOW_BYTES)]
    window.discard()


async def test_credit_of_bytes_holds_up_the_next_item() -> None:
    credit = SendCredit(100, 10)
    await credit.acquire()
    credit.spend(25)
    waiting = asyncio.ensure_future(credit.acquire())
    credit.grant(0, 15)
    await sleepless(3)
    assert not waiting.done()
    credit.grant(0, 1)

    await waiting


async def test_a_peer_that_counts_items_alone_is_held_up_by_items_alone() -> None:
    credit = SendCredit(0)
    credit.grant(2)
    await credit.acquire()
    credit.spend(1 << 30)

    await credit.acquire()


async def test_two_tasks_may_wait_for_credit() -> None:
    credit = SendCredit(0)
    waiting = [asyncio.ensure_future(credit.acquire()) for _ in range(2)]
    await sleepless(2)
    credit.grant(2)

    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_bytes_over_the_peers_budget_end_the_stream() -> None:
    budget = ByteBudget(100_000)
    one, other = ReceiveWindow(None, budget=budget), ReceiveWindow(None, budget=budget)

    assert one.put(b"x" * 90_000)
    assert not other.put(b"x" * 20_000)
    with pytest.raises(ResourceExhausted, match="90000 bytes"):
        await other.receive()
    one.discard()
    assert budget.held == 0


async def test_many_small_items_over_the_peers_budget_end_the_stream() -> None:
    budget, size = ByteBudget(10_000), 100
    window = ReceiveWindow(None, budget=budget)
    taken = 0

    while window.put(b"x" * size):
        taken += 1

    assert 10_000 - 4096 <= budget.held <= 10_000
    assert taken * size <= 10_000 + 4096


async def test_what_was_received_or_discarded_is_given_back() -> None:
    budget = ByteBudget(1 << 20)
    one, other = ReceiveWindow(None, budget=budget), ReceiveWindow(None, budget=budget)
    for window in (one, other):
        for size in (1, 5000, 100, 9000, 4095, 4096):
            assert window.put(b"x" * size)
    assert budget.held > 30_000

    for _ in range(6):
        await one.receive()
    await other.receive()
    other.discard()

    assert budget.held == 0


@pytest.mark.parametrize("size", [900_000, 3_000_000])
@pytest.mark.parametrize("kind", ["Pour", "Collect"])
async def test_a_reader_that_stops_holds_a_few_megabytes(kind: str, size: int) -> None:
    service, gauge, text = Service("points"), Gauge(), "x" * size
    before = process_budget().held

    @service.handler
    async def pour(request: int) -> AsyncIterator[str]:
        for _ in range(request):
            yield text

    @service.handler
    async def collect(texts: AsyncIterator[str]) -> int:
        await gauge.wait()
        return len([text async for text in texts])

    async def texts() -> AsyncIterator[str]:
        for _ in range(40):
            yield text

    async with running(service) as client:
        if kind == "Pour":
            async with client.stream("points", "Points.Pour", 40, str) as answers:
                await answers.receive()
                await sleepless(500)
                assert process_budget().held - before < WINDOW_BYTES + 3 * size
                assert len([answer async for answer in answers]) == 39
        else:
            async with client.stream("points", "Points.Collect", texts(), int) as stream:
                await gauge.until(started=1)
                await sleepless(500)
                assert process_budget().held - before < WINDOW_BYTES + 3 * size
                gauge.go.set()
                assert await stream.receive() == 40

    assert process_budget().held == before
