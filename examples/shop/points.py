"""The points service: awards points once for every order, and tells balances.

Run as many instances as you like: they share the durable's events, and they share the ledger.
"""

from __future__ import annotations

import os
from typing import Annotated

import aiosqlite

from examples.shop.models import Balance, Customer, OrderCreated, Totals, created
from examples.shop.tables import LEDGER, connect, make_tables
from micro import Depends, Retry, Service
from micro_sql import SqlInbox

inbox = SqlInbox(LEDGER)
service = Service("points", version="1.0.0")


@service.lifespan
async def tables() -> None:
    """Make the tables, which a real shop has made before."""
    await make_tables(LEDGER)


@service.subscriber(created, durable=True, once=inbox, retry=Retry(0.2, 1, 5, 30))
async def award(
    event: OrderCreated, tx: Annotated[aiosqlite.Connection, Depends(inbox.transaction)]
) -> None:
    """Award an order's points, in the transaction that notes that its event was applied."""
    row = (event.order, event.customer, event.points, os.getpid())
    await tx.execute("INSERT INTO awards VALUES (?, ?, ?, ?)", row)


@service.handler(idempotent=True)
async def balance(customer: Customer) -> Balance:
    """Tell a customer's points."""
    query = "SELECT COALESCE(SUM(points), 0), COUNT(*) FROM awards WHERE customer = ?"
    async with connect(LEDGER) as ledger:
        [(points, orders)] = await ledger.execute_fetchall(query, (customer.name,))
    return Balance(customer=customer.name, points=points, orders=orders)


@service.handler(idempotent=True)
async def totals() -> Totals:
    """Tell what all instances have awarded so far."""
    query = "SELECT process, COUNT(*), SUM(points) FROM awards GROUP BY process ORDER BY 1"
    async with connect(LEDGER) as ledger:
        rows = list(await ledger.execute_fetchall(query))
    return Totals(
        awards=sum(awards for _, awards, _ in rows),
        points=sum(points for _, _, points in rows),
        by_process={process: awards for process, awards, _ in rows},
    )


if __name__ == "__main__":
    service.run()
