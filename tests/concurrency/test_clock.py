"""The virtual clock moves only when it is told to."""

from __future__ import annotations

import asyncio

from micro.concurrency.clock import RealClock, VirtualClock


async def test_calls_are_made_in_the_order_of_their_times() -> None:
    clock, made = VirtualClock(), list[str]()
    clock.call_later(2.0, lambda: made.append("second"))
    clock.call_later(1.0, lambda: made.append("first"))
    clock.call_later(9.0, lambda: made.append("too late"))
    clock.call_later(1.5, lambda: made.append("cancelled")).cancel()

    await clock.advance(3.0)

    assert made == ["first", "second"]


async def test_a_call_sees_the_time_that_it_was_planned_for() -> None:
    clock, seen = VirtualClock(start=100.0), list[float]()
    clock.call_later(2.5, lambda: seen.append(clock.time()))

    await clock.advance(10.0)

    assert seen == [102.5]
    assert clock.time() == 110.0


async def test_a_chain_of_calls_runs_in_one_move() -> None:
    clock, times = VirtualClock(start=0.0), list[float]()

    def again() -> None:
        times.append(clock.time())
        clock.call_later(1.0, again)

    clock.call_later(1.0, again)
    await clock.advance(3.0)

    assert times == [1.0, 2.0, 3.0]


async def test_a_sleep_ends_when_the_clock_has_moved_that_far() -> None:
    clock = VirtualClock()
    sleeping = asyncio.ensure_future(clock.sleep(60.0))
    await clock.advance(59.0)
    early = sleeping.done()
    await clock.advance(1.0)

    assert not early
    assert sleeping.done()


async def test_the_real_clock_calls_after_real_time() -> None:
    clock = RealClock()
    before = clock.time()
    await clock.sleep(0.02)

    assert clock.time() - before >= 0.015
