"""The bazaar on a test network, and as real processes over NATS."""

from __future__ import annotations

import asyncio

import pytest

from examples.bazaar import catalog, checkout, fulfilment, inventory
from examples.bazaar.contracts import (
    Cart,
    CatalogApi,
    CheckoutApi,
    FulfilmentApi,
    InventoryApi,
    Item,
    Line,
    OutOfStock,
    UnknownItem,
    placed,
    shipped,
)
from micro import DeadlineExceeded, NotFound, load_settings, open_client
from micro.testing import Network
from micro_nats import NatsServer
from tests.examples.programs import ROOT, serving

MODULES = ("catalog", "inventory", "checkout", "fulfilment")


def cart(**counts: int) -> Cart:
    lines = [Line(sku=sku, count=count) for sku, count in counts.items()]
    return Cart(customer="ann", lines=lines)


class Shop:
    """Typed clients of the bazaar's services."""

    def __init__(self, client) -> None:
        self.catalog = client.use(CatalogApi, service="catalog")
        self.inventory = client.use(InventoryApi, service="inventory")
        self.checkout = client.use(CheckoutApi, service="checkout")
        self.fulfilment = client.use(FulfilmentApi, service="fulfilment")


@pytest.fixture
async def shop(network: Network) -> Shop:
    await network.start(catalog.service, replicas=2)
    await network.start(inventory.service)
    await network.start(checkout.service, replicas=2)
    await network.start(fulfilment.service)
    return Shop(network.client)


async def test_an_order_is_priced_reserved_and_shipped(network: Network, shop: Shop) -> None:
    order = await shop.checkout.place(cart(tea=2, pot=1))
    await network.settled()

    assert order.cents == 2 * 480 + 2900
    assert await shop.fulfilment.status(order.id) == "shipped"
    assert await shop.inventory.count("tea") == 98
    assert {item.sku async for item in shop.catalog.list()} == {"tea", "pot", "cup"}


async def test_an_order_that_cannot_be_filled_reserves_nothing(shop: Shop) -> None:
    with pytest.raises(OutOfStock, match="only 5 of pot left") as caught:
        await shop.checkout.place(cart(tea=1, pot=6))

    assert (caught.value.sku, caught.value.left) == ("pot", 5)
    assert await shop.inventory.count("tea") == 100


async def test_an_unknown_item_is_refused_by_its_name(network: Network, shop: Shop) -> None:
    heard = network.listen(placed)

    with pytest.raises(UnknownItem) as caught:
        await shop.checkout.place(cart(tea=1, unicorn=1))
    assert caught.value.sku == "unicorn"
    assert heard.events == []


async def test_the_last_pots_are_sold_once(shop: Shop) -> None:
    orders = [shop.checkout.place(cart(pot=2)) for _ in range(5)]
    results = await asyncio.gather(*orders, return_exceptions=True)

    assert sum(isinstance(result, OutOfStock) for result in results) == 3
    assert await shop.inventory.count("pot") == 1


async def test_what_was_not_published_goes_back_to_the_shelf(network: Network) -> None:
    quick = {"inventory": {"hold_seconds": 0.0, "sweep_seconds": 0.01}}
    await network.start(catalog.service)
    await network.start(inventory.service, settings=quick)
    await network.start(checkout.service)
    network.fault(placed, drop=True)
    shop = Shop(network.client)
    with pytest.raises(DeadlineExceeded):
        await shop.checkout.place(cart(cup=3))

    async with asyncio.timeout(5):
        while await shop.inventory.count("cup") < 40:
            continue


@pytest.mark.network(clock="virtual")
async def test_an_order_waits_for_a_fulfilment_that_is_away_or_fails(network: Network) -> None:
    await network.start(catalog.service)
    await network.start(inventory.service)
    await network.start(checkout.service)
    shop = Shop(network.client)
    away = await shop.checkout.place(cart(tea=1))
    await network.advance("1h")
    await network.start(fulfilment.service)
    await network.settled()
    network.fault(placed, at="fulfilment", error=OSError("no van"), times=3)
    late = await shop.checkout.place(cart(tea=1))
    await network.settled()
    with pytest.raises(NotFound):
        await shop.fulfilment.status(late.id)
    await network.advance("1m")

    assert await shop.fulfilment.status(away.id) == "shipped"
    assert await shop.fulfilment.status(late.id) == "shipped"
    assert await network.dead() == []


async def test_the_checkout_works_with_a_catalog_that_is_faked(network: Network) -> None:
    await network.fake(CatalogApi, get=lambda sku: Item(sku=sku, cents=1))
    await network.fake(InventoryApi, reserve=OutOfStock("tea", 0))
    await network.start(checkout.service)

    with pytest.raises(OutOfStock):
        await Shop(network.client).checkout.place(cart(tea=7))
    assert [call.request for call in network.calls("catalog")] == ["tea"]


async def test_the_bazaar_sells_over_nats(nats_server: NatsServer, tmp_path) -> None:
    flags = ["--transport-address", nats_server.address]
    run = ("-W", "error", "-m", "micro.cli", "run", *flags, "--log-level", "warning")
    database = ("--inventory-database", str(tmp_path / "stock.sqlite"))
    async with (
        serving(*run, *(f"examples.bazaar.{name}" for name in MODULES), *database),
        open_client(load_settings(flags, {})) as client,
        client.subscribe(shipped) as sent,
    ):
        for name in MODULES:
            async with asyncio.timeout(30), client.registry.watch(name) as changes:
                async for records in changes:
                    if records:
                        break
        order = await Shop(client).checkout.place(cart(tea=3))
        async with asyncio.timeout(20):
            assert (await anext(aiter(sent))).id == order.id

        assert await Shop(client).inventory.count("tea") == 97


def test_it_is_short() -> None:
    files = (ROOT / "examples" / "bazaar").glob("*.py")

    assert sum(len(path.read_text().splitlines()) for path in files) < 350
