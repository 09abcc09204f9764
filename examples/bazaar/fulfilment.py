"""The fulfilment: it ships what was ordered, and says so."""

from __future__ import annotations

from typing import Annotated

from examples.bazaar.contracts import FulfilmentApi, Order, placed, shipped
from micro import Depends, NotFound, Retry, Service

service = Service("fulfilment")


@service.lifespan
def book() -> dict[str, str]:
    """The status of each order, by its id."""
    return {}


Book = Annotated[dict[str, str], Depends(book)]


class Fulfilment:
    """What becomes of an order."""

    async def status(self, order: str, book: Book) -> str:
        """`shipped`, as soon as it has left the house."""
        if order not in book:
            raise NotFound(f"no order {order}")
        return book[order]


service.implement(FulfilmentApi, Fulfilment(), idempotent=True)


@service.subscriber(placed, durable=True, retry=Retry(1, 5, 30, 120), max_concurrency=8)
async def ship(order: Order, book: Book) -> None:
    """Ship an order, and say so."""
    book[order.id] = "shipped"
    await service.publish(shipped, order)
