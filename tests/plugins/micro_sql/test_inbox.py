from __future__ import annotations

import asyncio

import pytest

from micro.errors import ConfigError, Unavailable, UsageError
from micro.scope import open_scope
from micro_sql import SqlInbox
from tests.plugins.micro_sql.conftest import every_driver
from tests.plugins.micro_sql.places import Place


async def handle(place: Place, inbox: SqlInbox, id: str, *, durable: str = "points_award") -> bool:
    """Apply an event as the engine does."""
    async with inbox.claim(durable, id) as new:
        if new:
            await place.effect(await inbox.transaction(), id)
        return new


@every_driver
async def test_an_event_is_new_once_for_each_durable(place: Place) -> None:
    inbox = SqlInbox(place.engine)

    async with inbox.opened():
        assert await handle(place, inbox, "a")
        assert not await handle(place, inbox, "a")
        assert await handle(place, inbox, "a", durable="notifications_notify")
    assert await place.effects() == ["a", "a"]


@every_driver
async def test_an_error_takes_back_the_mark_and_the_effect(place: Place) -> None:
    inbox = SqlInbox(place.engine)

    async def fail() -> None:
        async with inbox.claim("points_award", "a"):
            await place.effect(await inbox.transaction(), "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await place.effects() == []
    assert await handle(place, inbox, "a")


async def test_a_cancelled_handler_takes_back_the_mark_and_the_effect(place: Place) -> None:
    inbox, began = SqlInbox(place.engine), asyncio.Event()

    async def hang() -> None:
        async with inbox.claim("points_award", "a"):
            await place.effect(await inbox.transaction(), "a")
            began.set()
            await asyncio.Event().wait()

    async with open_scope() as scope:
        scope.start(hang())
        await began.wait()

    assert await place.effects() == []
    assert await handle(place, inbox, "a")


@every_driver
async def test_of_two_deliveries_at_once_one_is_applied(place: Place) -> None:
    inbox = SqlInbox(place.engine)

    found = await asyncio.gather(*(handle(place, inbox, "a") for _ in range(4)))

    assert sorted(found) == [False, False, False, True]
    assert await place.effects() == ["a"]


async def test_a_second_delivery_applies_the_event_when_the_first_one_fails(place: Place) -> None:
    inbox, began, go_on = SqlInbox(place.engine), asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        async with inbox.claim("points_award", "a"):
            began.set()
            await go_on.wait()
            raise ZeroDivisionError

    first = asyncio.gather(fail(), return_exceptions=True)
    await began.wait()
    second = asyncio.gather(handle(place, inbox, "a"))
    go_on.set()

    assert isinstance((await first)[0], ZeroDivisionError)
    assert await second == [True]


async def test_marks_are_removed_when_they_have_expired(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micro_sql.inbox.CLAIMS_PER_CLEANING", 3)
    inbox = SqlInbox(place.engine, keep="1d")
    long_ago = place.database.dialect.ago(2 * 24 * 3600)
    await handle(place, inbox, "a")
    await place.execute(f"UPDATE micro_inbox SET applied_at = {long_ago}")

    for id in "bc":
        await handle(place, inbox, id)

    assert await place.fetch("SELECT id FROM micro_inbox ORDER BY id") == [("b",), ("c",)]
    assert await handle(place, inbox, "a")


async def test_a_handler_without_a_claim_gets_no_transaction(place: Place) -> None:
    inbox = SqlInbox(place.engine)

    with pytest.raises(UsageError, match="once=inbox"):
        await inbox.transaction()


async def test_an_inbox_without_tables_says_which_command_prints_them(tmp_path) -> None:
    with pytest.raises(ConfigError, match="micro outbox schema --dialect sqlite"):
        async with SqlInbox(tmp_path / "empty.sqlite").opened():
            pytest.fail("it was opened")


async def test_an_inbox_that_cannot_be_reached_is_unavailable(tmp_path) -> None:
    inbox = SqlInbox(tmp_path / "nowhere" / "points.sqlite")

    with pytest.raises(Unavailable, match="cannot be reached"):
        async with inbox.claim("points_award", "a"):
            pytest.fail("it was claimed")
