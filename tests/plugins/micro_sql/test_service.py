"""Outbox and inbox in services: from one transaction to the other."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from micro import Depends, Keep, MemoryBackend, Retry, Service, Topic
from micro.errors import ConfigError
from micro_sql import SqlInbox, SqlOutbox
from tests.plugins.micro_sql.places import Place


class Created(BaseModel):
    order: str


created = Topic("orders.created", Created, keep=Keep("1h", dedup=0))


async def test_a_copy_that_the_broker_stored_is_applied_once(place: Place) -> None:
    inbox, last = SqlInbox(place.engine), asyncio.Event()
    service = Service("points")

    @service.subscriber(created, durable=True, once=inbox, max_concurrency=1)
    async def award(event: Created, tx: Annotated[Any, Depends(inbox.transaction)]) -> None:
        await place.effect(tx, event.order)
        if event.order == "b":
            last.set()

    async with service.running() as client:
        for order in "aab":
            await client.publish(created, Created(order=order), id=f"order-{order}")
        await asyncio.wait_for(last.wait(), 10)

    assert await place.effects() == ["a", "b"]


async def test_an_event_that_failed_at_first_has_one_effect(place: Place) -> None:
    inbox, done = SqlInbox(place.engine), asyncio.Event()
    service, tries = Service("points"), 0

    @service.subscriber(created, durable=True, once=inbox, retry=Retry(0, 0))
    async def award(event: Created, tx: Annotated[Any, Depends(inbox.transaction)]) -> None:
        nonlocal tries
        tries += 1
        await place.effect(tx, event.order)
        if tries < 3:
            raise ZeroDivisionError
        done.set()

    async with service.running() as client:
        await client.publish(created, Created(order="a"))
        await asyncio.wait_for(done.wait(), 10)

    assert await place.effects() == ["a"]


async def test_a_committed_order_reaches_a_durable_subscriber(place: Place) -> None:
    outbox, heard = SqlOutbox(place.engine), asyncio.Queue[str]()
    network, orders, points = MemoryBackend(), Service("orders", outbox=outbox), Service("points")

    @points.subscriber(created, durable=True)
    async def award(event: Created) -> None:
        heard.put_nowait(event.order)

    async with points.running(network), orders.running(network):
        async with place.begin() as tx:
            await place.effect(tx, "a")
            await outbox.publish(tx, created, Created(order="a"))
        assert await asyncio.wait_for(heard.get(), 10) == "a"


async def test_a_service_does_not_start_while_its_inbox_has_no_tables(tmp_path) -> None:
    service = Service("points")

    @service.subscriber(created, durable=True, once=SqlInbox(tmp_path / "empty.sqlite"))
    async def award(event: Created) -> None: ...

    with pytest.raises(ConfigError, match="no tables for the inbox"):
        async with service.running():
            pytest.fail("it has started")
