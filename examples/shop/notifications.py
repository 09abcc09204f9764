"""The notifications service: prints every order, on one of its instances."""

from __future__ import annotations

from examples.shop.models import OrderCreated, created
from micro import Service

service = Service("notifications", version="1.0.0")


@service.subscriber(created, durable=True)
async def notify(event: OrderCreated) -> None:
    """Tell of an order. After a kill it may be told again: printing has no transaction."""
    what = f"{event.quantity} x {event.item}"
    print(f"{event.customer} ordered {what} for {event.paid / 100:.2f}", flush=True)


if __name__ == "__main__":
    service.run()
