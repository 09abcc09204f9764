"""Processes that are killed between two steps, and what the next one finds."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from micro_sql import SqlInbox, SqlOutbox
from tests.plugins.micro_sql.places import Place
from tests.plugins.micro_sql.sink import Sink, relaying

DIES = "tests.plugins.micro_sql.programs.dies"


async def start(*argv: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", DIES, *argv, stdout=asyncio.subprocess.PIPE
    )


async def dies(*argv: str) -> None:
    process = await start(*argv)
    await asyncio.wait_for(process.communicate(), 15)

    assert process.returncode == -signal.SIGKILL


async def test_an_event_is_sent_though_its_process_was_killed_after_the_commit(
    place: Place,
) -> None:
    sink = Sink()
    await dies(place.url, "outbox", "after")

    async with relaying(SqlOutbox(place.engine), sink):
        assert await sink.until(1) == ["a"]
    assert await place.effects() == ["a"]


async def test_nothing_is_left_of_a_process_that_was_killed_before_the_commit(
    place: Place,
) -> None:
    await dies(place.url, "outbox", "before")

    assert await place.effects() == []
    assert await place.fetch("SELECT id FROM micro_outbox") == []


async def test_another_relay_sends_the_event_that_a_killed_one_was_sending(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine), Sink()
    async with place.begin() as tx:
        await outbox.publish(tx, "orders.created", {}, id="a")
    first = await start(place.url, "relay", "sending")
    assert first.stdout is not None
    assert await asyncio.wait_for(first.stdout.readline(), 15) == b"sending a\n"

    async with relaying(outbox, sink):
        first.kill()
        assert await sink.until(1) == ["a"]
        await first.communicate()


@pytest.mark.parametrize(("point", "new"), [("before", True), ("after", False)])
async def test_a_kill_before_the_acknowledgement_leaves_one_effect(
    place: Place, point: str, new: bool
) -> None:
    inbox = SqlInbox(place.engine)
    await dies(place.url, "inbox", point)

    async with inbox.claim("points_award", "a") as found:
        if found:
            await place.effect(await inbox.transaction(), "a")

    assert found is new
    assert await place.effects() == ["a"]
