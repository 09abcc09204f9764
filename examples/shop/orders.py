"""The orders service: takes orders, gives loyal customers a discount, and tells the others.

An order and its event are written in one transaction: there is never one without the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import aiosqlite

from examples.shop.models import Balance, Customer, OrderCreated, PlaceOrder, Receipt, created
from examples.shop.tables import ORDERS, connect, make_tables
from micro import DeadlineExceeded, Depends, NotFound, Service, Unavailable
from micro_sql import SqlOutbox

PRICES = {"tea": 480, "coffee": 920, "cake": 350, "teapot": 2900}
LOYAL_POINTS = 40
DISCOUNT_PERCENT = 10

outbox = SqlOutbox(ORDERS)
service = Service("orders", version="1.0.0", outbox=outbox)


@service.lifespan
async def tables() -> None:
    """Make the tables, which a real shop has made before."""
    await make_tables(ORDERS)


async def transaction() -> AsyncIterator[aiosqlite.Connection]:
    """A transaction for each call; it is committed before the answer is sent."""
    async with connect(ORDERS) as tx:
        yield tx
        await tx.commit()


@service.handler(idempotent=True)
async def place(
    order: PlaceOrder, tx: Annotated[aiosqlite.Connection, Depends(transaction)]
) -> Receipt:
    """Accept an order: `Orders.Place`. The same order again gets the same receipt."""
    price = PRICES.get(order.item)
    if price is None:
        raise NotFound(f"we do not sell {order.item!r}")
    total = price * order.quantity
    saved = total * await discount(order.customer) // 100
    paid = total - saved
    receipt = Receipt(order=order.id, paid=paid, saved=saved, points=paid // 100)
    added = await tx.execute(
        "INSERT INTO orders VALUES (?, ?) ON CONFLICT DO NOTHING",
        (order.id, receipt.model_dump_json()),
    )
    if not added.rowcount:
        return await earlier_receipt(tx, order.id)
    event = OrderCreated(
        order=order.id,
        customer=order.customer,
        item=order.item,
        quantity=order.quantity,
        paid=paid,
        points=receipt.points,
    )
    await outbox.publish(tx, created, event, id=order.id, key=order.customer)
    return receipt


async def earlier_receipt(tx: aiosqlite.Connection, id: str) -> Receipt:
    """The receipt of an order that was accepted before."""
    [(receipt,)] = await tx.execute_fetchall("SELECT receipt FROM orders WHERE id = ?", (id,))
    return Receipt.model_validate_json(receipt)


async def discount(customer: str) -> int:
    """The percentage that a customer saves: none while the points service does not answer."""
    try:
        balance = await service.client.call(
            "points", "Points.Balance", Customer(name=customer), Balance, timeout=1.0
        )
    except (DeadlineExceeded, Unavailable):
        return 0
    return DISCOUNT_PERCENT if balance.points >= LOYAL_POINTS else 0


if __name__ == "__main__":
    service.run()
