"""Errors cross the wire as themselves, and a deadline holds for all that a call sets off.

python examples/errors_and_deadlines.py
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, Field

from micro import (
    BadRequest,
    Client,
    Context,
    DeadlineExceeded,
    MemoryBackend,
    MicroError,
    NotFound,
    Service,
)

PRICES = {"tea": 480}


class Wish(BaseModel):
    """What is wanted; a request that does not fit never reaches the handler."""

    item: str
    quantity: int = Field(default=1, ge=1)


warehouse = Service("warehouse")
shop = Service("shop")


@warehouse.handler
async def pick(item: str, context: Context) -> str:
    """Be slow. The caller's deadline came along with the call, and cancels this when it is over."""
    print(f"the warehouse has {context.remaining():.1f} s left")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print(f"the warehouse stops looking for {item}")
        raise
    return item


@shop.handler
async def price(wish: Wish) -> int:
    """Tell a price, or raise an error that the caller can catch by its class."""
    if wish.item not in PRICES:
        raise NotFound(f"we do not sell {wish.item!r}")
    return PRICES[wish.item] * wish.quantity


@shop.handler
async def order(wish: Wish) -> str:
    """Call on; this call inherits what is left of the caller's time."""
    return await shop.client.call("warehouse", "Warehouse.Pick", wish.item, str)


async def show_errors(client: Client) -> None:
    """Catch errors by class, read their codes, or take a fallback instead."""
    print(f"two teas: {await client.call('shop', 'Shop.Price', Wish(item='tea', quantity=2), int)}")
    try:
        await client.call("shop", "Shop.Price", Wish(item="unicorn"), int)
    except NotFound as error:
        print(f"{type(error).__name__}: code {error.code}, from {error.id}: {error.detail}")
    try:
        await client.call("shop", "Shop.Price", {"item": "tea", "quantity": 0}, int)
    except BadRequest as error:
        print(f"{type(error).__name__}: {error.detail}")
    try:
        await client.call("bakery", "Bakery.Bake", "cake", str)
    except MicroError as error:
        print(
            f"{type(error).__name__}: {error.detail}; refused, so it did not run: {error.refused}"
        )
    price = await client.call("shop", "Shop.Price", Wish(item="cake"), int, fallback=lambda _: -1)
    print(f"with a fallback: {price}")


async def show_deadlines(client: Client) -> None:
    """Give a call 200 ms, all that it sets off included."""
    try:
        await client.call("shop", "Shop.Order", Wish(item="tea"), str, timeout=0.2)
    except DeadlineExceeded as error:
        print(f"{type(error).__name__}: code {error.code}")


async def main() -> None:
    """Run both services, and a customer who asks for the wrong things."""
    network = MemoryBackend()
    async with (
        warehouse.running(network),
        shop.running(network),
        Service("customer").running(network) as client,
    ):
        await show_errors(client)
        await show_deadlines(client)


if __name__ == "__main__":
    asyncio.run(main())
