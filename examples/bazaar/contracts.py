"""What the services of the bazaar know of each other: values, errors, contracts and topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from pydantic import BaseModel, Field

from micro import Conflict, NotFound, Topic, contract, raises


class Item(BaseModel):
    """What is sold."""

    sku: str
    cents: int


class Line(BaseModel):
    """So many of one item."""

    sku: str
    count: int = Field(gt=0)


class Cart(BaseModel):
    """What a customer wants."""

    customer: str
    lines: list[Line] = Field(min_length=1)


class Order(Cart):
    """A cart that was accepted."""

    id: str
    cents: int


class UnknownItem(NotFound):
    """No such item is sold."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"no {sku} is sold here")
        self.sku = sku


class OutOfStock(Conflict):
    """Too few of an item are left."""

    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"only {left} of {sku} left")
        self.sku = sku
        self.left = left


@contract("Catalog")
class CatalogApi(Protocol):
    """What is sold: one item by its name, or all of them."""

    @raises(UnknownItem)
    async def get(self, sku: str) -> Item: ...

    def list(self) -> AsyncIterator[Item]: ...


@contract("Inventory")
class InventoryApi(Protocol):
    """How many of an item can be sold; and to reserve all lines of an order, or none."""

    async def count(self, sku: str) -> int: ...

    @raises(OutOfStock)
    async def reserve(self, order: Order) -> None: ...


@contract("Checkout")
class CheckoutApi(Protocol):
    """Where customers order what is in a cart: all of it, or nothing."""

    @raises(UnknownItem, OutOfStock)
    async def place(self, cart: Cart) -> Order: ...


@contract("Fulfilment")
class FulfilmentApi(Protocol):
    """What becomes of an order: it is `shipped`, as soon as it has left the house."""

    @raises(NotFound)
    async def status(self, order: str) -> str: ...


placed = Topic("bazaar.orders.placed", Order, keep="7d")
shipped = Topic("bazaar.orders.shipped", Order, keep="7d")
