"""How to test a service: run it inside the test, with stand-ins for the services that it calls.

pytest examples/testing.py        # with pytest-asyncio, asyncio_mode = "auto"
python examples/testing.py
"""

from __future__ import annotations

import asyncio

import pytest

from micro import Client, MemoryBackend, NotFound, Service
from micro.testing import assert_nothing_left

shop = Service("shop")


@shop.handler
async def order(item: str) -> str:
    """The handler under test: it calls another service and publishes an event."""
    stock = await shop.client.call("warehouse", "Warehouse.Stock", item, int)
    if not stock:
        raise NotFound(f"{item} is sold out")
    await shop.publish("orders.created", item)
    return f"one {item} is on its way"


def make_warehouse(stock: dict[str, int]) -> Service:
    """A stand-in for the real warehouse: a service, too, with as little in it as a test needs."""
    service = Service("warehouse")

    @service.handler("Warehouse.Stock")
    async def count(item: str) -> int:
        return stock.get(item, 0)

    return service


async def test_a_handler_is_a_function() -> None:
    """What needs no network needs no running service."""
    assert await make_and_ask({"tea": 1}, "tea") == "one tea is on its way"


async def test_an_error_reaches_the_caller() -> None:
    """Over memory, errors and values cross the same wire format as over NATS."""
    with pytest.raises(NotFound, match="sold out"):
        await make_and_ask({}, "tea")


async def test_an_event_is_published() -> None:
    """Wait for the event itself, never for a while."""
    network, heard = MemoryBackend(), asyncio.Queue[str]()
    listener = Service("listener")

    @listener.subscriber("orders.created")
    async def hear(item: str) -> None:
        heard.put_nowait(item)

    async with (
        make_warehouse({"tea": 1}).running(network),
        listener.running(network),
        shop.running(network) as client,
    ):
        await place(client, "tea")

        assert await asyncio.wait_for(heard.get(), 5) == "tea"


async def test_nothing_is_left_behind() -> None:
    """No task and no open file is there that was not there before."""
    async with assert_nothing_left():
        await make_and_ask({"tea": 1}, "tea")


async def make_and_ask(stock: dict[str, int], item: str) -> str:
    """Run the shop with a warehouse that has such a stock, and order once."""
    network = MemoryBackend()  # a network of this test's own: tests never meet
    async with make_warehouse(stock).running(network), shop.running(network) as client:
        return await place(client, item)


async def place(client: Client, item: str) -> str:
    """Order as a customer does."""
    return await client.call("shop", "Shop.Order", item, str)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-o", "asyncio_mode=auto"]))
