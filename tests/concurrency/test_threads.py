"""Plain functions in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from micro.concurrency.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads(2, "test")
    yield threads
    threads.close()


def raise_(error: BaseException) -> None:
    raise error


async def test_the_result_of_a_function_is_returned(threads: Threads) -> None:
    assert await threads.run("add", lambda a, b: a + b, 1, 2) == 3
    assert await threads.settle(1.0) == []


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), GeneratorExit(), KeyError("k")])
async def test_any_exception_of_a_function_reaches_the_caller(
    threads: Threads, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        await threads.run("fail", raise_, error)

    assert raised.value is error
    assert threads.running == []


async def test_a_stop_iteration_ends_the_wait(threads: Threads) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run("next", next, iter([]))

    assert threads.running == []


def wait_here(release: threading.Event, started: threading.Event) -> None:
    started.set()
    release.wait(5)


async def test_a_function_that_goes_on_without_its_caller_is_named_with_its_line(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    release, started, ended = threading.Event(), threading.Event(), asyncio.Event()
    work = threads.run("Points.Hang", wait_here, release, started, ended=ended.set)
    waiting = asyncio.ensure_future(work)
    await asyncio.to_thread(started.wait, 5)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert threads.running == ["Points.Hang"]
    assert not ended.is_set()
    (record,) = caplog.records
    assert "Points.Hang still runs in its thread" in record.getMessage()
    assert "wait_here" in record.getMessage()
    assert "1 of 2 threads" in record.getMessage()
    release.set()
    await asyncio.wait_for(ended.wait(), 5)
    assert threads.running == []
