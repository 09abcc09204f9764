"""The moment by which an answer is wanted."""

from __future__ import annotations

import asyncio
import time

import pytest

from micro.deadline import Deadline, enforce
from micro.errors import DeadlineExceeded


def test_what_remains_shrinks() -> None:
    deadline = Deadline(time.monotonic() + 5)
    first, second = deadline.remaining(), deadline.remaining()

    assert second <= first <= 5


def test_the_tighter_of_two_is_the_earlier_one() -> None:
    early, late = Deadline(1.0), Deadline(2.0)

    assert early.tighter(late) is early
    assert late.tighter(early) is early
    assert late.tighter(None) is late


async def test_a_block_that_is_not_done_in_time_is_ended() -> None:
    with pytest.raises(DeadlineExceeded, match="no time left for the test"):
        async with enforce(Deadline.after(0.01), "the test"):
            await asyncio.Event().wait()


async def test_a_deadline_that_has_passed_ends_the_block_at_its_first_wait() -> None:
    with pytest.raises(DeadlineExceeded):
        async with enforce(Deadline.after(-1), "the test"):
            await asyncio.Event().wait()


async def test_without_a_deadline_there_is_no_limit() -> None:
    async with enforce(None, "the test"):
        assert asyncio.current_task()


async def test_a_timeout_of_the_blocks_own_is_not_ours() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with enforce(Deadline.after(5), "the test"):
            raise TimeoutError("mine")

    assert str(caught.value) == "mine"


async def test_cancellation_from_outside_stays_a_cancellation() -> None:
    async def work() -> None:
        async with enforce(Deadline.after(5), "the test"):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
