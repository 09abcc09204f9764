"""Calls: several at once, the headers of an answer, and a client for plain functions.

python examples/calling.py
"""

from __future__ import annotations

import asyncio

import micro.sync
from micro import Context, MemoryBackend, NotFound, Service

PRICES = {"tea": 480, "cake": 350}
shop = Service("shop")


@shop.handler
async def price(sku: str, ctx: Context) -> int:
    """The price in cents, and its currency in a header."""
    if sku not in PRICES:
        raise NotFound(f"no {sku} is sold")
    ctx.reply_headers["currency"] = "EUR"
    return PRICES[sku]


@shop.handler
def total(skus: list[str]) -> int:
    """A plain function runs in a thread and calls with the synchronous client."""
    client = micro.sync.client_of(shop)
    return sum(client.call("shop", "Shop.Price", sku, int) for sku in skus)


async def main() -> None:
    """Make the calls."""
    async with shop.running(MemoryBackend()) as client:
        tea, cake = await client.gather(
            client.call("shop", "Shop.Price", "tea", int),
            client.call("shop", "Shop.Price", "cake", int),
        )
        print(f"tea {tea}, cake {cake}")
        each = await client.gather(
            client.call("shop", "Shop.Price", "tea", int),
            client.call("shop", "Shop.Price", "unicorn", int),
            fail_fast=False,
        )
        print(f"with errors in place: {[str(one) for one in each]}")
        headers: dict[str, str] = {}
        await client.call("shop", "Shop.Price", "tea", int, reply_headers=headers)
        print(f"in {headers['currency']}")
        print(f"total {await client.call('shop', 'Shop.Total', ['tea', 'cake'], int)}")


if __name__ == "__main__":
    asyncio.run(main())
