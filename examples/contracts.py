"""Contracts: one Protocol names the endpoints, checks the service and types its clients.

python examples/contracts.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from pydantic import BaseModel

from micro import MemoryBackend, Service, contract
from micro.errors import HandlerError


class Item(BaseModel):
    """What is sold."""

    sku: str
    cents: int


@contract("Catalog")
class CatalogApi(Protocol):
    """What the catalog offers; the endpoints are `Catalog.Get` and `Catalog.List`."""

    async def get(self, sku: str) -> Item:
        """One item."""
        ...

    def list(self) -> AsyncIterator[Item]:
        """All items."""
        ...


class Catalog:
    """Keeps to the contract; the service checks that at import."""

    async def get(self, sku: str) -> Item:
        """One item; all cost the same."""
        return Item(sku=sku, cents=480)

    async def list(self) -> AsyncIterator[Item]:
        """All items."""
        for sku in ("tea", "cake"):
            yield Item(sku=sku, cents=480)


class Unfinished:
    """Forgets a method."""

    async def get(self, sku: str) -> Item:
        """One item."""
        return Item(sku=sku, cents=0)


catalog = Service("catalog")
catalog.implement(CatalogApi, Catalog())


async def main() -> None:
    """Call the service by its contract, and see a class refused."""
    network = MemoryBackend()
    async with catalog.running(network), Service("shop").running(network) as client:
        api = client.use(CatalogApi, service="catalog")
        print(f"tea costs {(await api.get('tea')).cents}")
        print(f"sold here: {[item.sku async for item in api.list()]}")
    try:
        Service("other").implement(CatalogApi, Unfinished())
    except HandlerError as error:
        print(f"refused: {'it lacks list' in error.detail}")


if __name__ == "__main__":
    asyncio.run(main())
