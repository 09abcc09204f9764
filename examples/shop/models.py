"""What the shop's services say to each other."""

from __future__ import annotations

import uuid

from pydantic import BaseModel, Field

from micro import Topic


class PlaceOrder(BaseModel):
    """A customer wants something. An order that is sent again has the same id."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    customer: str
    item: str
    quantity: int = Field(default=1, ge=1, le=100)


class Receipt(BaseModel):
    """An order that was accepted; amounts are in cents."""

    order: str
    paid: int
    saved: int
    points: int


class OrderCreated(BaseModel):
    """The event: an order was accepted."""

    order: str
    customer: str
    item: str
    quantity: int
    paid: int
    points: int


class Customer(BaseModel):
    """Whose points are asked for."""

    name: str


class Balance(BaseModel):
    """A customer's points, and for how many orders they were awarded."""

    customer: str
    points: int
    orders: int


class Totals(BaseModel):
    """What has been awarded so far, and how many times by which process."""

    awards: int
    points: int
    by_process: dict[int, int]


created = Topic("orders.created", OrderCreated, keep="7d")
"""Every accepted order, kept for a week."""
