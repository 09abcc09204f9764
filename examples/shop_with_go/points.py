"""The points service: awards points for every order, and tells balances.

Run as many instances as you like: they share the events, since a subscriber's queue group is its
service's name, and they share the ledger. Handlers that are plain functions run in threads.
"""

from __future__ import annotations

import os

from examples.shop_with_go.ledger import Ledger
from examples.shop_with_go.models import ORDER_CREATED, Balance, Customer, OrderCreated, Totals
from micro import Service

service = Service("points", version="1.0.0")
ledger = Ledger(os.environ.get("SHOP_LEDGER", "shop.sqlite"))
service.on_start(ledger.create)


@service.subscriber(ORDER_CREATED)
def award(event: OrderCreated) -> None:
    """Award an order's points. Of all instances, one gets each event."""
    ledger.award(event.order, event.customer, event.points)


@service.handler(idempotent=True)
def balance(customer: Customer) -> Balance:
    """Tell a customer's points."""
    points, orders = ledger.balance(customer.name)
    return Balance(customer=customer.name, points=points, orders=orders)


@service.handler(idempotent=True)
def totals() -> Totals:
    """Tell what all instances have awarded so far."""
    rows = ledger.totals()
    return Totals(
        awards=sum(awards for _, awards, _ in rows),
        points=sum(points for _, _, points in rows),
        by_process={process: awards for process, awards, _ in rows},
    )


if __name__ == "__main__":
    service.run()
