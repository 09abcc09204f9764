"""Events: one instance of a group gets each, or every instance does, by topic or by pattern.

python examples/pubsub.py
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from micro import Context, MemoryBackend, Service


class Order(BaseModel):
    """What is told of an order."""

    number: int


def make_service(instance: str) -> Service:
    """An instance of the shop."""
    service = Service("shop")

    @service.subscriber("orders.created")
    async def pack(order: Order) -> None:
        """The queue group is the service's name: of all instances, one packs each order."""
        print(f"{instance} packs order {order.number}")

    @service.subscriber("orders.created", queue=None)
    async def count(order: Order) -> None:
        """No queue group: every instance counts every order."""
        print(f"{instance} counts order {order.number}")

    return service


audit = Service("audit")


@audit.subscriber("orders.*")
async def note(order: Order, context: Context) -> None:
    """`*` stands for one word of a topic; the context has the topic itself."""
    print(f"audit notes {context.topic} of order {order.number}")


@audit.subscriber("orders.>")
async def archive(context: Context) -> None:
    """`>` stands for one word or more, at the end; a handler need not take the event."""
    print(f"audit archives {context.topic}")


async def main() -> None:
    """Run two instances of the shop and the audit on one network, and publish."""
    network = MemoryBackend()
    async with (
        make_service("shop-1").running(network),
        make_service("shop-2").running(network),
        audit.running(network) as client,
    ):
        for number in range(1, 5):
            await client.publish("orders.created", Order(number=number))
        await client.publish("orders.cancelled", Order(number=2))
        await client.publish("orders.eu.created", Order(number=5))
        await client.flush()
    # A service that stops handles the events that reached it first, so nothing is missing here.
    print("all handled")


if __name__ == "__main__":
    asyncio.run(main())
