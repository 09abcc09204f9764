from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from micro import OutboxEvent
from micro.errors import ConfigError, ConnectionLost, PayloadTooLarge
from micro_sql import SqlOutbox
from tests.plugins.micro_sql.conftest import POSTGRESQL, every_driver
from tests.plugins.micro_sql.places import Place, open_place
from tests.plugins.micro_sql.sink import Sink, relaying


async def write(place: Place, outbox: SqlOutbox, *ids: str, **options: Any) -> None:
    async with place.begin() as tx:
        for id in ids:
            await outbox.publish(tx, "orders.created", {"order": id}, id=id, **options)


@every_driver
async def test_an_event_is_sent_after_its_transaction_has_committed(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine), Sink()

    async with relaying(outbox, sink):
        async with place.begin() as tx:
            await outbox.publish(tx, "orders.created", {"a": 1}, id="a", headers={"zone": "b"})
            assert sink.events == []
        await sink.until(1)

    [event] = sink.events
    assert (event.id, event.topic, event.body) == ("a", "orders.created", b'{"a":1}\n')
    assert event.headers["zone"] == "b"
    assert (event.kept, event.partition) == (False, None)


@every_driver
async def test_an_event_of_a_transaction_that_fails_is_never_sent(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine), Sink()

    async def fail() -> None:
        async with place.begin() as tx:
            await place.effect(tx, "a")
            await outbox.publish(tx, "orders.created", {}, id="a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await write(place, outbox, "b")

    async with relaying(outbox, sink):
        assert await sink.until(1) == ["b"]
    assert await place.effects() == []


@every_driver
async def test_a_write_wakes_the_relay_of_its_process(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micro_sql.relay.FIRST_LOOK_SECONDS", 3600.0)
    outbox, sink = SqlOutbox(place.engine, poll="1h"), Sink()
    await write(place, outbox, "a")

    async with relaying(outbox, sink):
        await sink.until(1)
        await write(place, SqlOutbox(place.engine), "b")
        await write(place, outbox, "c")
        assert "b" in await sink.until(2)


async def test_events_of_a_key_keep_their_order_over_many_batches(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine), Sink()
    keys = [f"user-{number}" for number in range(20)]
    for number in range(20):
        async with place.begin() as tx:
            for key in keys:
                await outbox.publish(tx, "orders", {}, id=f"{key}/{number}", key=key)

    async with relaying(outbox, sink):
        sent = await sink.until(400)

    for key in keys:
        own = [id for id in sent if id.startswith(f"{key}/")]
        assert own == [f"{key}/{number}" for number in range(20)]


async def test_an_event_that_could_not_be_sent_comes_again_before_later_ones_of_its_key(
    place: Place,
) -> None:
    failures = Counter({"a-1": 1})

    def refuse(event: OutboxEvent) -> None:
        if failures[event.id]:
            failures[event.id] -= 1
            raise ConnectionLost("cut off")

    outbox, sink = SqlOutbox(place.engine), Sink(refuse)
    await write(place, outbox, "a-1", "a-2", key="a")
    await write(place, outbox, "b-1", key="b")

    async with relaying(outbox, sink):
        sent = await sink.until(3)

    assert sink.tries.count("a-1") == 2
    assert [id for id in sent if id.startswith("a")] == ["a-1", "a-2"]
    assert sent[0] == "b-1"


async def test_an_event_that_can_never_be_sent_is_set_aside_and_named(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(event: OutboxEvent) -> None:
        if event.id == "a":
            raise PayloadTooLarge("it has 2 MB")

    outbox, sink = SqlOutbox(place.engine), Sink(refuse)
    await write(place, outbox, "a", "b")

    with caplog.at_level(logging.ERROR):
        async with relaying(outbox, sink):
            assert await sink.until(1) == ["b"]

    assert sink.tries == ["a", "b"]
    assert "event a of orders.created can never be sent" in caplog.text
    [(failed,)] = await place.fetch("SELECT failed FROM micro_outbox WHERE id = 'a'")
    assert failed.startswith("PayloadTooLarge")


@every_driver
async def test_two_relays_send_each_event_once(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine), Sink()
    ids = {f"{number}" for number in range(100)}
    async with place.begin() as tx:
        for id in ids:
            await outbox.publish(tx, "orders", {}, id=id, key=id)

    async with relaying(outbox, sink), relaying(SqlOutbox(place.engine), sink):
        await sink.until(100)

    assert sorted(sink.ids) == sorted(ids)


@every_driver
async def test_a_relay_takes_over_from_one_that_ended_while_it_was_sending(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine), Sink()
    began, never = asyncio.Event(), asyncio.Event()

    async def hang(_: OutboxEvent) -> None:
        began.set()
        await never.wait()

    await write(place, outbox, "a", "b")
    async with relaying(outbox, hang) as first:
        await began.wait()
        async with relaying(SqlOutbox(place.engine), sink):
            assert sink.events == []
            first.cancel()
            assert await sink.until(2) == ["a", "b"]


async def test_a_relay_that_is_cancelled_marks_what_it_has_sent(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine), Sink()
    second, never = asyncio.Event(), asyncio.Event()

    async def send(event: OutboxEvent) -> None:
        if event.id == "b":
            second.set()
            await never.wait()

    await write(place, outbox, "a", "b")
    async with relaying(outbox, send):
        await second.wait()
    async with relaying(outbox, sink):
        assert await sink.until(1) == ["b"]


async def test_events_that_were_sent_long_ago_are_removed(place: Place) -> None:
    outbox, sink = SqlOutbox(place.engine, keep="1h"), Sink()
    await write(place, outbox, "old", "new", "waits")
    long_ago = place.database.dialect.ago(2 * 3600)
    now = place.database.dialect.now
    await place.execute(f"UPDATE micro_outbox SET sent_at = {long_ago} WHERE id = 'old'")
    await place.execute(f"UPDATE micro_outbox SET sent_at = {now} WHERE id = 'new'")

    async with relaying(outbox, sink):
        await sink.until(1)

    rows = await place.fetch("SELECT id FROM micro_outbox ORDER BY id")
    assert [id for (id,) in rows] == ["new", "waits"]


async def test_an_outbox_without_tables_says_which_command_prints_them(tmp_path) -> None:
    outbox = SqlOutbox(tmp_path / "empty.sqlite")

    with pytest.raises(ConfigError, match="micro outbox schema --dialect sqlite"):
        await outbox.check()
    with pytest.raises(ConfigError, match="micro outbox schema --dialect sqlite"):
        await outbox.relay(Sink())


async def test_tables_of_another_version_are_refused(place: Place) -> None:
    await place.execute("UPDATE micro_schema SET version = 7 WHERE part = 'outbox'")
    try:
        with pytest.raises(ConfigError, match="version 7"):
            await SqlOutbox(place.engine).check()
    finally:
        await place.execute("UPDATE micro_schema SET version = 1 WHERE part = 'outbox'")


@POSTGRESQL
async def test_postgresql_wakes_the_relay_of_another_program(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micro_sql.relay.FIRST_LOOK_SECONDS", 3600.0)
    async with AsyncExitStack() as stack:
        place = await open_place("asyncpg", postgres_url, stack)
        # Another object, as the outbox of another program would be.
        sink, writer = Sink(), SqlOutbox(place.engine)
        await write(place, writer, "a")
        async with relaying(SqlOutbox(place.engine, poll="1h"), sink):
            await sink.until(1)
            for count, id in enumerate("bcd", 2):
                await write(place, writer, id)
                await sink.until(count)

    assert sink.ids == ["a", "b", "c", "d"]


@POSTGRESQL
async def test_a_relay_outlives_the_loss_of_its_connection(postgres_url: str) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place("asyncpg", postgres_url, stack)
        outbox, sink = SqlOutbox(place.engine), Sink()
        async with relaying(outbox, sink):
            await write(place, outbox, "a")
            await sink.until(1)
            await place.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND query LIKE '%micro_outbox%'"
            )
            await write(place, outbox, "b")
            assert await sink.until(2) == ["a", "b"]
