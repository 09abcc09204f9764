"""What the shop's services say to each other."""

from __future__ import annotations

from pydantic import BaseModel, Field

ORDER_CREATED = "orders.created"
"""The topic of every accepted order."""


class PlaceOrder(BaseModel):
    """A customer wants something."""

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
