# ruff: noqa: PT012  the check raises when its block is left
from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from micro.testing import assert_nothing_left

linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


async def test_a_task_that_is_left_is_named() -> None:
    tasks = []
    with pytest.raises(AssertionError, match="the-reader"):
        async with assert_nothing_left():
            tasks.append(asyncio.create_task(asyncio.Event().wait(), name="the-reader"))
    tasks[0].cancel()


@linux
async def test_a_file_that_is_left_is_named() -> None:
    files = []
    with pytest.raises(AssertionError, match="/dev/null"):
        async with assert_nothing_left():
            files.append(os.open(os.devnull, os.O_RDONLY))
    os.close(files[0])


async def test_a_task_that_is_about_to_end_is_waited_for() -> None:
    async with assert_nothing_left():
        task = asyncio.create_task(asyncio.sleep(0))

    assert task.done()


async def test_tasks_and_files_from_before_are_allowed() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    async with assert_nothing_left():
        pass
    task.cancel()


async def test_the_error_of_the_block_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        async with assert_nothing_left():
            task = asyncio.create_task(asyncio.Event().wait())
            raise KeyError
    task.cancel()
