"""The orders service: takes orders, gives loyal customers a discount, and tells the others."""

from __future__ import annotations

import uuid

from examples.shop_with_go.models import (
    ORDER_CREATED,
    Balance,
    Customer,
    OrderCreated,
    PlaceOrder,
    Receipt,
)
from micro import NotFound, Service

PRICES = {"tea": 480, "coffee": 920, "cake": 350, "teapot": 2900}
LOYAL_POINTS = 40
DISCOUNT_PERCENT = 10

service = Service("orders", version="1.0.0")


@service.handler
async def place(order: PlaceOrder) -> Receipt:
    """Accept an order: `Orders.Place`."""
    price = PRICES.get(order.item)
    if price is None:
        raise NotFound(f"we do not sell {order.item!r}")
    total = price * order.quantity
    saved = total * await discount(order.customer) // 100
    paid = total - saved
    receipt = Receipt(order=uuid.uuid4().hex, paid=paid, saved=saved, points=paid // 100)
    event = OrderCreated(
        order=receipt.order,
        customer=order.customer,
        item=order.item,
        quantity=order.quantity,
        paid=paid,
        points=receipt.points,
    )
    await service.publish(ORDER_CREATED, event)
    return receipt


async def discount(customer: str) -> int:
    """The percentage that a customer saves: it takes a call to the points service."""
    balance = await service.client.call(
        "points", "Points.Balance", Customer(name=customer), Balance, timeout=2.0
    )
    return DISCOUNT_PERCENT if balance.points >= LOYAL_POINTS else 0


if __name__ == "__main__":
    service.run()
