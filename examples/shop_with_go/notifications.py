"""The notifications service: prints every order, on every instance."""

from __future__ import annotations

from examples.shop_with_go.models import ORDER_CREATED, OrderCreated
from micro import Service

service = Service("notifications", version="1.0.0")


@service.subscriber(ORDER_CREATED, queue=None)
async def notify(event: OrderCreated) -> None:
    """Tell of an order. With `queue=None` no instance is left out."""
    what = f"{event.quantity} x {event.item}"
    print(f"{event.customer} ordered {what} for {event.paid / 100:.2f}", flush=True)


if __name__ == "__main__":
    service.run()
