"""The catalog: a contract, and a class that implements it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from examples.bazaar.contracts import CatalogApi, Item, UnknownItem
from micro import Service

ITEMS = {
    "tea": Item(sku="tea", cents=480),
    "pot": Item(sku="pot", cents=2900),
    "cup": Item(sku="cup", cents=700),
}


class Catalog:
    """What is sold."""

    async def get(self, sku: str) -> Item:
        """One item."""
        if sku not in ITEMS:
            raise UnknownItem(sku)
        return ITEMS[sku]

    async def list(self) -> AsyncIterator[Item]:
        """All items."""
        for item in ITEMS.values():
            yield item


service = Service("catalog")
service.implement(CatalogApi, Catalog(), idempotent=True)
