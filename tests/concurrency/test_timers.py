"""Many timeouts on one timer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from micro.concurrency.timers import Timers


class Expired:
    """What expired, and when; it can be waited for."""

    def __init__(self) -> None:
        self.items: list[object] = []
        self.times: list[float] = []
        self._news = asyncio.Event()

    def __call__(self, item: object) -> None:
        self.items.append(item)
        self.times.append(time.monotonic())
        self._news.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def expired() -> Expired:
    return Expired()


async def test_an_item_expires_at_its_time_and_never_early(expired: Expired) -> None:
    timers = Timers[str](expired)
    at = time.monotonic() + 0.03
    timers.add(at, "a")

    await expired.until(lambda: expired.items == ["a"])
    assert expired.times[0] >= at


async def test_items_expire_in_the_order_of_their_times(expired: Expired) -> None:
    timers = Timers[str](expired)
    now = time.monotonic()
    timers.add(now + 0.06, "late")
    timers.add(now + 0.02, "early")
    timers.add(now + 0.04, "middle")

    await expired.until(lambda: len(expired.items) == 3)
    assert expired.items == ["early", "middle", "late"]


async def test_an_item_that_left_its_slot_does_not_expire(expired: Expired) -> None:
    timers = Timers[str](expired)
    at = time.monotonic() + 0.02
    timers.add(at, "gone").discard("gone")
    timers.add(at, "stays")

    await expired.until(lambda: bool(expired.items))
    assert expired.items == ["stays"]


async def test_a_time_that_has_passed_expires_at_once(expired: Expired) -> None:
    timers = Timers[str](expired)
    timers.add(time.monotonic() - 1.0, "a")

    await expired.until(lambda: expired.items == ["a"])


async def test_an_item_may_be_added_while_another_expires(expired: Expired) -> None:
    def expire(item: str) -> None:
        expired(item)
        if item == "first":
            timers.add(time.monotonic() + 0.01, "second")

    timers = Timers[str](expire)
    timers.add(time.monotonic(), "first")

    await expired.until(lambda: expired.items == ["first", "second"])


async def test_nothing_expires_after_the_close(expired: Expired) -> None:
    timers, others = Timers[str](expired), Timers[str](expired)
    timers.add(time.monotonic() + 0.01, "closed")
    others.add(time.monotonic() + 0.03, "open")
    timers.close()

    await expired.until(lambda: bool(expired.items))
    assert expired.items == ["open"]


async def test_ten_thousand_timeouts_take_one_timer_of_the_loop(
    expired: Expired, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    armed = []
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *a, **k: armed.append(a) or call_later(*a, **k))
    timers = Timers[int](expired)
    at = time.monotonic() + 10

    for number in range(10_000):
        timers.add(at, number)
    assert len(armed) == 1
    timers.close()
