"""Storms: tries and tries again at a backend that fails, and sockets and streams in numbers."""

from __future__ import annotations

import signal
import time
from contextlib import AsyncExitStack

import pytest

from micro import MicroError
from tests.faults.clock import lasts, succeeds
from tests.faults.load import client_of, run_load, within
from tests.faults.network import connections
from tests.faults.process import run_program

RATE = 200
# What docs and code of the budget promise: ten tokens at first, a tenth for each success.
AT_FIRST = 10
EARNED = 0.1
MANY = 10_000


async def fail(client, error: str) -> dict[str, int]:
    """Have the service fail in this way from now on, or not; how often it was tried in each."""
    return await client.call("points", "Points.Fail", error)


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        pytest.param(1.0, "Unavailable", id="seconds"),
        *(
            pytest.param(60, error, id=name, marks=[pytest.mark.slow, pytest.mark.timeout(150)])
            for error, name in (("Unavailable", "a minute"), ("ResourceExhausted", "busy"))
        ),
    ],
)
async def test_a_failing_backend_gets_few_attempts_more_than_calls(
    server, verdict, seconds, error
) -> None:
    row = verdict(
        f"Every idempotent call fails for {seconds} s as {error}, {RATE} calls/s, two retries each",
        f"attempts <= calls + {AT_FIRST} (the budget when it is full) <= 1.2 x calls; each call "
        "ends typed; once the backend is well no call fails, and retries are earned again",
    )
    flags = ("--transport-address", server.address)
    async with run_program("failing", *flags) as program, client_of(server.address) as client:
        await program.says("ready: points")
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as calm:
            await lasts(0.2)
        await fail(client, error)
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as storm:
            await lasts(seconds)
        attempts = (await fail(client, ""))[error]
        well = time.monotonic()
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as after:
            await lasts(0.8)
        tokens = client._directory.routes["points"].budget.tokens

    calls = len(storm.calls)
    back = min(call.ended for call in after.calls if not call.error) - well
    row.measured = (
        f"{attempts} attempts for {calls} calls (x {attempts / calls:.3f}), failed calls end "
        f"within {within(storm.calls) * 1000:.0f} ms (p99); served {back * 1000:.0f} ms after, "
        f"{len(after.failed)} of {len(after.calls)} failed, {tokens:.1f} tokens earned"
    )
    assert not calm.failed
    assert {call.error for call in storm.calls} == {error}, storm.errors
    assert calls < attempts <= calls + AT_FIRST
    assert attempts <= 1.2 * calls
    assert not after.failed
    assert back < 0.25
    assert tokens == pytest.approx(min(AT_FIRST, EARNED * len(after.calls)), abs=1.0)


@pytest.mark.slow
async def test_a_backend_that_fails_now_and_then_gets_a_tenth_of_retries(server, verdict) -> None:
    row = verdict(
        "The backend fails and works in turn, 0.2 s each, for 6 s",
        f"attempts <= calls + {AT_FIRST} + a tenth of the successes",
    )
    flags = ("--transport-address", server.address)
    async with run_program("failing", *flags) as program, client_of(server.address) as client:
        await program.says("ready: points")
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as load:
            for turn in range(30):
                counts = await fail(client, "" if turn % 2 else "Unavailable")
                await lasts(0.2)
        counts = await fail(client, "")

    attempts, calls = sum(counts.values()), len(load.calls)
    good = calls - len(load.failed)
    row.measured = f"{attempts} attempts for {calls} calls, {good} of them good"
    assert good > calls / 4
    assert attempts > calls
    # The calls that steer the backend earn as well.
    assert attempts <= calls + AT_FIRST + EARNED * (good + 31)


async def test_an_error_that_is_not_passing_is_not_tried_again(server, verdict) -> None:
    row = verdict(
        "Every call fails for 0.5 s with an error that another try would meet again (500)",
        "one attempt for each call, the budget untouched",
    )
    flags = ("--transport-address", server.address)
    async with run_program("failing", *flags) as program, client_of(server.address) as client:
        await program.says("ready: points")
        await fail(client, "InternalError")
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as load:
            await lasts(0.5)
        attempts = (await fail(client, ""))["InternalError"]
        tokens = client._directory.routes["points"].budget.tokens

    row.measured = f"{attempts} attempts for {len(load.calls)} calls, {tokens:g} tokens left"
    assert attempts == len(load.calls)
    assert tokens == AT_FIRST


async def look(client, what: str, fewest: int, most: int) -> None:
    """See that the service has so many sockets, or calls on them, open."""
    open_now = (await client.call("points", "Points.Count"))[what]
    if not fewest <= open_now <= most:
        raise MicroError(f"{open_now} {what} are open")


async def grow(client, what: str, number: int) -> None:
    """Look until there are so many."""
    await succeeds(lambda: look(client, what, number, number + 1), 20.0)


async def shrink(client, what: str, number: int, timeout: float = 20.0) -> float:
    """Look until there are no more than so many; the seconds that it took."""
    return await succeeds(lambda: look(client, what, 0, number), timeout)


@pytest.mark.parametrize(
    ("number", "bound"),
    [
        pytest.param(signal.SIGTERM, 2.0, id="closed"),
        pytest.param(
            signal.SIGKILL, 120.0, id="killed", marks=[pytest.mark.slow, pytest.mark.timeout(180)]
        ),
    ],
)
async def test_ten_thousand_sockets_are_cheap_and_go_with_their_peer(
    server, verdict, number, bound
) -> None:
    row = verdict(
        f"A peer opens {MANY:,} sockets to one service and ends by {signal.Signals(number).name}",
        "open within 10 s, under 20 KiB each at either end, one subscription for all; calls of "
        f"others are answered meanwhile; all are freed within {bound:g} s",
    )
    serve = run_program("sockets", "--transport-address", server.address)
    async with serve as service, client_of(server.address) as client:
        await service.says("ready: points")
        await grow(client, "sockets", 1)
        memory = service.memory()
        async with run_program("sockets", "dial", server.address, str(MANY)) as peer:
            await peer.says("opened")
            (told,) = (line.split() for line in peer.log if line.startswith("opened"))
            await grow(client, "sockets", MANY + 1)
            served = (service.memory() - memory) * 1024 / MANY
            (many,) = [each for each in await connections(server) if each.get("name") == "many"]
            async with run_load(client, rate=100, kinds=("read",)) as load:
                await lasts(0.5)
            peer.signal(number)
            freed = await shrink(client, "sockets", 1, bound + 5)

    seconds, dialled = float(told[1]), float(told[2]) / 1024
    row.measured = (
        f"open in {seconds:.2f} s, {served:.1f} KiB each where they are served and {dialled:.1f} "
        f"where they were dialled, freed in {freed:.1f} s, calls p99 {within(load.calls):.3f} s"
    )
    assert seconds < 10.0
    assert max(served, dialled) < 20.0
    # The other one is for answers of the registry.
    assert many["subscriptions"] == 2
    assert not load.failed, load.errors
    assert freed < bound


async def test_ten_thousand_streams_and_slow_ones_delay_no_call(server, verdict) -> None:
    row = verdict(
        f"A client opens {MANY:,} streams to one service and two that pour out more than it reads",
        "open within 10 s, under 20 KiB each where they are served; calls beside them fail never, "
        "p99 under 50 ms; all are freed within 5 s of their end",
    )
    flags = ("--transport-address", server.address, "--max-streams", str(2 * MANY))
    async with run_program("sockets", *flags) as service, client_of(server.address) as client:
        await service.says("ready: points")
        async with run_load(client, rate=100, kinds=("read",)) as calm:
            await lasts(0.3)
        memory, started = service.memory(), time.monotonic()
        async with AsyncExitStack() as streams:
            for number in range(MANY):
                job = {"number": number}
                await streams.enter_async_context(client.stream("points", "Points.Tick", job))
            await grow(client, "calls", MANY + 1)
            seconds = time.monotonic() - started
            each = (service.memory() - memory) * 1024 / MANY
            for _ in range(2):
                job = {"number": 4096}
                await streams.enter_async_context(client.stream("points", "Points.Pour", job))
            async with run_load(client, rate=100, kinds=("read",)) as load:
                await lasts(0.6)
            ended = time.monotonic()
        await shrink(client, "calls", 1)
        freed = time.monotonic() - ended

    row.measured = (
        f"open in {seconds:.2f} s, {each:.1f} KiB each, freed in {freed:.1f} s; calls p99 "
        f"{within(calm.calls) * 1000:.1f} ms without and {within(load.calls) * 1000:.1f} ms beside"
    )
    assert seconds < 10.0
    assert each < 20.0
    assert not load.failed, load.errors
    assert within(load.calls) < 0.05
    assert freed < 5.0
