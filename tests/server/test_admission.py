"""Which requests run, wait, or are refused."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from micro import Context, DeadlineExceeded, ResourceExhausted, Service
from micro.errors import HandlerError
from micro.transport.contract import Socket
from micro.wire.headers import (
    CHUNKED,
    ENDPOINT,
    ERROR,
    ID,
    PROBE_ENDPOINT,
    REFUSED,
    SIGNAL,
    STREAM,
    TIMEOUT,
)
from tests.engine import Gauge, raw, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def gauge() -> Gauge:
    return Gauge()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    release = threading.Event()
    yield release
    release.set()


def with_threads(release: threading.Event, **settings: object) -> Service:
    service = Service("points", settings=settings)

    @service.handler
    def hang() -> None:
        release.wait(10)

    @service.handler
    def fine() -> int:
        return 1

    return service


async def test_a_plain_handler_that_hangs_leaves_threads_for_the_others(
    release: threading.Event,
) -> None:
    async with running(with_threads(release, threads=4)) as client:
        hanging = [asyncio.ensure_future(client.call("points", "Points.Hang")) for _ in range(40)]
        async with asyncio.timeout(1):
            for _ in range(10):
                assert await client.call("points", "Points.Fine", None, int) == 1
        release.set()
        await asyncio.gather(*hanging)


async def test_a_call_that_finds_no_thread_waits_in_the_bounded_queue(
    release: threading.Event,
) -> None:
    async with running(with_threads(release, threads=1, max_queue=1)) as client:
        calls = [asyncio.ensure_future(client.call("points", "Points.Hang")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted, match="limit"):
            await client.call("points", "Points.Hang", retries=0, timeout=1)
        release.set()
        await asyncio.gather(*calls)


async def test_a_thread_that_outlives_its_call_keeps_its_place(release: threading.Event) -> None:
    async with running(with_threads(release, threads=1, max_queue=0)) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call("points", "Points.Hang", timeout=0.05)
        with pytest.raises(ResourceExhausted):
            await client.call("points", "Points.Fine", retries=0)
        release.set()
        assert await client.call("points", "Points.Fine", None, int) == 1


def with_streams(gauge: Gauge, **settings: object) -> Service:
    service = Service("points", settings=settings)

    @service.handler
    async def watch() -> AsyncIterator[int]:
        yield 1
        await gauge.wait()

    @service.handler
    async def fine() -> int:
        return 1

    return service


async def test_streams_take_no_places_of_unary_calls(gauge: Gauge) -> None:
    service = with_streams(gauge, max_streams=3, max_concurrency=1, max_queue=0)
    async with running(service) as client, raw(client) as peer:
        for number in range(3):
            peer.open("Points.Watch", id=f"s{number}")
        await peer.replies(3)

        assert await client.call("points", "Points.Fine", None, int) == 1


async def test_a_stream_without_a_place_is_refused_within_a_second(gauge: Gauge) -> None:
    service = with_streams(gauge, max_streams=1)
    async with (
        running(service) as client,
        client.stream("points", "Points.Watch", None, int) as first,
    ):
        await first.receive()
        before = time.monotonic()
        with pytest.raises(ResourceExhausted, match="stream"):
            async with client.stream("points", "Points.Watch", None, int) as other:
                await other.receive()

    assert time.monotonic() - before < 1.5


async def test_a_handlers_timeout_caps_the_time_of_a_call() -> None:
    service = Service("points")

    @service.handler(timeout=0.05)
    async def wait(ctx: Context) -> None:
        await asyncio.Event().wait()

    async with running(service) as client:
        async with asyncio.timeout(1):
            with pytest.raises(DeadlineExceeded):
                await client.call("points", "Points.Wait", timeout=30)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused_at_decoration(timeout: float) -> None:
    service = Service("points")
    with pytest.raises(HandlerError, match="timeout"):

        @service.handler(timeout=timeout)
        async def wait() -> None: ...


async def test_a_request_that_was_cancelled_in_the_meantime_does_not_start(gauge: Gauge) -> None:
    service = Service("points")

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        for number in range(200):
            peer.request("Points.Wait", id=str(number))
        for number in range(200):
            peer.send({ID: str(number), SIGNAL: "cancel"})
        peer.request("Points.Nope", id="last")
        await peer.reply("last")
        await asyncio.sleep(0)

    assert gauge.started == 0


async def test_a_passed_deadline_is_logged_with_node_time_and_trace(
    gauge: Gauge, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service("points", id="one")

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call(
                "points",
                "Points.Wait",
                timeout=0.05,
                headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
            )
        await gauge.until(cancelled=1)

    (line,) = [r.getMessage() for r in caplog.records if r.name == "micro.server"]
    for part in ("Points.Wait", "points", "points-one", "0.0", TRACE):
        assert part in line


async def test_many_passed_deadlines_are_few_lines(
    gauge: Gauge, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service("points")

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        for number in range(500):
            peer.request("Points.Wait", id=str(number), **{TIMEOUT: "20000000"})
        await peer.replies(500)

    assert 1 <= len([r for r in caplog.records if r.name == "micro.server"]) <= 20


async def test_the_access_log_has_a_line_for_each_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "micro.access")
    service = Service("points", settings={"access_log": True})

    @service.handler
    async def fine() -> int:
        return 1

    async with running(service) as client, raw(client) as peer:
        await client.call("points", "Points.Fine", None, int)
        peer.send({ENDPOINT: "Points.Nope", ID: "1"})
        peer.send({ENDPOINT: "Points.Fine", ID: "2", STREAM: "2"})
        await peer.replies(2)

    lines = [r.getMessage() for r in caplog.records if r.name == "micro.access"]
    assert [line.split()[:2] for line in lines] == [
        ["Points.Fine", "200"],
        ["Points.Nope", "404"],
        ["Points.Fine", "405"],
    ]


async def test_a_request_that_waited_on_its_way_past_its_deadline_does_not_start(
    gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Socket, "delay", 2.0)
    service = Service("points")

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Wait", **{TIMEOUT: "1000000000"})
        refused = await peer.reply()
        peer.request("Points.Wait", id="2", **{TIMEOUT: "9000000000"})
        await gauge.until(started=1)

    assert "408" in refused.headers[ERROR]
    assert REFUSED in refused.headers
    assert gauge.started == 1


async def test_the_first_chunk_of_a_request_that_no_endpoint_takes_is_refused() -> None:
    async with running(Service("points")) as client, raw(client) as peer:
        peer.request("Points.Nope", b"x" * 1000, **{CHUNKED: "50000000"})

        assert "404" in (await peer.reply()).headers[ERROR]


async def test_a_probe_is_answered_and_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "micro.access")
    service = Service("points", settings={"access_log": True})

    @service.handler
    async def fine() -> int:
        return 1

    async with running(service) as client, raw(client) as peer:
        peer.request(PROBE_ENDPOINT)
        assert "404" in (await peer.reply()).headers[ERROR]

    assert not [r for r in caplog.records if r.name == "micro.access"]
