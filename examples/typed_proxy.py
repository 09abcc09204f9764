"""A typed client: a Protocol says what a service offers, and type checkers see to it.

python examples/typed_proxy.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from pydantic import BaseModel

from micro import Client, MemoryBackend, Service


class Customer(BaseModel):
    """Whose points are asked for."""

    name: str


class Award(BaseModel):
    """Points, and what for."""

    points: int
    reason: str


class Points(Protocol):
    """What the points service offers; a package of its own may have it, for all who call."""

    async def balance(self, customer: Customer, *, timeout: float | None = 1.0) -> int:
        """A call: `Points.Balance`. Options of `Client.call` go by keyword."""
        ...

    def history(self, customer: Customer) -> AsyncIterator[Award]:
        """A stream: `Points.History`."""
        ...


class PointsInMemory:
    """The service's side: each public method is an endpoint."""

    def __init__(self) -> None:
        self._awards = {
            "ann": [Award(points=40, reason="a teapot"), Award(points=2, reason="a cake")]
        }

    async def balance(self, customer: Customer) -> int:
        """The sum of a customer's points."""
        return sum(award.points for award in self._awards.get(customer.name, []))

    async def history(self, customer: Customer) -> AsyncIterator[Award]:
        """Every award, the oldest first."""
        for award in self._awards.get(customer.name, []):
            yield award


def make_service() -> Service:
    """The points service, on an object with state of its own."""
    service, points = Service("points"), PointsInMemory()
    service.handler("Points.Balance")(points.balance)
    service.handler("Points.History")(points.history)
    return service


async def report(client: Client) -> None:
    """Use the service as if it were an object."""
    points = client.use(Points, service="points")
    ann = Customer(name="ann")
    print(f"ann has {await points.balance(ann, timeout=0.5)} points")
    async for award in points.history(ann):
        print(f"  {award.points} for {award.reason}")


async def main() -> None:
    """Run the service and a shop that calls it."""
    network = MemoryBackend()
    async with make_service().running(network), Service("shop").running(network) as client:
        await report(client)


if __name__ == "__main__":
    asyncio.run(main())
