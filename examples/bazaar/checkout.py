"""The checkout: it calls two services by their contracts, and publishes what was ordered."""

from __future__ import annotations

import uuid
from typing import Annotated

from examples.bazaar.contracts import Cart, CatalogApi, CheckoutApi, InventoryApi, Order, placed
from micro import Client, Depends, Service

service = Service("checkout")


@service.lifespan
def catalog(client: Client) -> CatalogApi:
    """The catalog, wherever it runs."""
    return client.use(CatalogApi, service="catalog")


@service.lifespan
def inventory(client: Client) -> InventoryApi:
    """The inventory, wherever it runs."""
    return client.use(InventoryApi, service="inventory")


class Checkout:
    """Where customers order."""

    async def place(
        self,
        cart: Cart,
        client: Client,
        catalog: Annotated[CatalogApi, Depends(catalog)],
        inventory: Annotated[InventoryApi, Depends(inventory)],
    ) -> Order:
        """Order what is in a cart: all of it, or nothing."""
        items = await client.gather(*(catalog.get(line.sku) for line in cart.lines))
        cents = sum(item.cents * line.count for item, line in zip(items, cart.lines, strict=True))
        order = Order(id=uuid.uuid4().hex, cents=cents, **dict(cart))
        await inventory.reserve(order)
        await client.publish(placed, order)
        return order


service.implement(CheckoutApi, Checkout())
