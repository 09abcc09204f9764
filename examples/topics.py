"""Topics: a typed name that publishers, subscribers and type checkers share.

python examples/topics.py
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from micro import MemoryBackend, Service, Topic


class OrderCreated(BaseModel):
    """What is told of a new order."""

    number: int
    user: str


created = Topic("orders.created", OrderCreated)
mailer = Service("mailer")


@mailer.subscriber(created)
async def confirm(event: OrderCreated) -> None:
    """Handle each event once, at one instance of the mailer."""
    print(f"mail to {event.user}: order {event.number} has arrived")


async def main() -> None:
    """Publish as the shop does, and read the same events in a block."""
    network = MemoryBackend()
    async with (
        mailer.running(network),
        Service("shop").running(network) as client,
        client.subscribe(created, max_queue=100) as events,
    ):
        for number, user in enumerate(("ann", "bob"), start=1):
            await client.publish(created, OrderCreated(number=number, user=user))
        for _ in range(2):
            event = await anext(events)
            print(f"seen: order {event.number} of {event.user}")


if __name__ == "__main__":
    asyncio.run(main())
