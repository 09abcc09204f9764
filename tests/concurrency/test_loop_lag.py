"""Requests that waited, unread, while the process stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from micro import DeadlineExceeded, Service
from micro.concurrency.loop_lag import LoopLag
from tests.engine import ANN, Award, Balance, raw, running
from tests.faults.clock import until

MS = 1_000_000


class Frozen(LoopLag):
    """Says that the process stood still for two seconds until now."""

    def seconds(self, now: float) -> float:
        return 2.0


@pytest.fixture
def service() -> Service:
    service = Service("points")

    @service.handler
    async def award(request: Award) -> Balance:
        return Balance(user=request.user, points=request.points)

    return service


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.server.admission.LoopLag", Frozen)
    # As over a network: requests wait to be read while the process stands still.
    monkeypatch.setattr("micro.transport.memory._Socket.in_process", False)


def test_a_loop_that_turns_has_no_lag() -> None:
    assert LoopLag().seconds(time.monotonic()) == 0.0


def test_an_overdue_measurement_is_a_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    lag = LoopLag()
    later = time.monotonic() + 3.0
    monkeypatch.setattr("micro.concurrency.loop_lag.time.monotonic", lambda: later)

    assert lag.seconds(time.monotonic()) == pytest.approx(2.5, abs=0.1)


async def test_a_lag_is_kept_until_the_loop_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lag = LoopLag()
    monkeypatch.setattr("micro.concurrency.loop_lag._INTERVAL_SECONDS", 0.05)
    measuring = asyncio.ensure_future(lag.measure())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    woken = loop.create_future()
    loop.call_later(0.06, woken.set_result, None)
    block(0.3)
    await woken
    found = lag.seconds(time.monotonic())
    await until(lambda: lag.seconds(time.monotonic()) == 0.0)
    measuring.cancel()

    assert found > 0.05


async def test_a_fresh_request_runs_after_the_loop_was_blocked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deadline is shorter than the time that the loop stood still before it was sent."""
    made = list[LoopLag]()
    monkeypatch.setattr("micro.concurrency.loop_lag._INTERVAL_SECONDS", 0.8)
    monkeypatch.setattr("micro.server.admission.LoopLag", lambda: made.append(LoopLag()) or made[0])
    async with running(service) as client:
        await client.call("points", "Points.Award", ANN, Balance)
        await asyncio.sleep(0)
        block(1.8)
        await until(lambda: made[0].seconds(time.monotonic()) > 0.0)
        await until(lambda: made[0].seconds(time.monotonic()) == 0.0, 0.7)

        assert await client.call("points", "Points.Award", ANN, Balance, timeout=1.0)


def block(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.usefixtures("frozen")
async def test_what_expired_unread_is_refused_and_the_rest_is_run(service: Service) -> None:
    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Award", b'{"user":"ann","points":5}', id="1", Timeout=str(900 * MS))
        peer.request("Points.Award", b'{"user":"ann","points":5}', id="2", Timeout=str(9000 * MS))
        late, fresh = await peer.reply("1"), await peer.reply("2")

    assert "Micro-Refused" in late.headers
    assert "408" in late.headers["Micro-Error"]
    assert b"ann" in fresh.body


@pytest.mark.usefixtures("frozen")
async def test_its_caller_learns_that_it_did_not_run(service: Service) -> None:
    async with running(service) as client:
        with pytest.raises(DeadlineExceeded) as raised:
            await client.call("points", "Points.Award", ANN, Balance, timeout=0.2, retries=0)

    assert raised.value.refused


async def test_within_a_process_nothing_waits_unread_while_it_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("micro.server.admission.LoopLag", Frozen)
    service = Service("points")

    @service.handler
    async def fine() -> int:
        return 1

    async with running(service) as client:
        assert await client.call("points", "Points.Fine", None, int, timeout=0.5) == 1
