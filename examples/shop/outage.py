"""Orders are placed while services and the NATS server are killed; a table tells what came of them.

Customers send an order again, with the same id, until they have a receipt. From then on the order
must be awarded, and once: whatever is killed, and when.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from examples.shop.driver import BASKETS, CUSTOMERS
from examples.shop.models import PlaceOrder, Receipt, created
from examples.shop.processes import Shop, say, until, wait_ready
from micro import Client, MicroError, load_settings, open_client
from micro.broker.kept import KeptBroker
from micro.events.deadletter import dead_letters
from micro_nats import NatsServer, run_server

ORDERS_PER_CUSTOMER = 40
PAUSE_SECONDS = 0.2
CALL_TIMEOUT_SECONDS = 2.0
ACCEPTED_WITHIN_SECONDS = 60.0
SETTLED_WITHIN_SECONDS = 40.0
SERVER_DOWN_SECONDS = 1.5


@dataclass
class Tally:
    """What the customers have sent, and what they got receipts for."""

    placed: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    repeats: int = 0


async def run_outage() -> int:
    """Run the shop through the outages; gives the exit code."""
    # What the customers' client says of each lost connection is not part of the show.
    logging.getLogger("micro").addHandler(logging.NullHandler())
    began = time.monotonic()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="shop-") as name:
        folder = Path(name)
        async with run_server(jetstream=True) as server, asyncio.TaskGroup() as readers:
            say(f"nats-server listens at {server.address}, with JetStream")
            shop = Shop(server.address, folder, readers, quiet=True)
            try:
                await shop.start_all()
                settings = load_settings(["--transport-address", server.address], {})
                async with open_client(settings, name="customers") as client:
                    await wait_ready(client)
                    dead = await _play(shop, server, client, tally, folder / "points.sqlite")
            finally:
                say("stopping all with SIGTERM")
                await shop.stop()
        awarded, twice = _awards(folder / "points.sqlite", tally)
    lost = len(tally.accepted) - awarded
    print(_table(tally, awarded, twice, lost, dead), flush=True)
    good = len(tally.accepted) == len(tally.placed) and not (twice or lost or dead)
    say(f"{'all is well' if good else 'something went wrong'}, {time.monotonic() - began:.1f} s")
    return 0 if good else 1


async def _play(shop: Shop, server: NatsServer, client: Client, tally: Tally, ledger: Path) -> int:
    """Place all orders while things are killed, wait for the awards; gives the dead letters."""
    total = len(CUSTOMERS) * ORDERS_PER_CUSTOMER
    say(f"{len(CUSTOMERS)} customers place {ORDERS_PER_CUSTOMER} orders each")
    async with asyncio.TaskGroup() as group:
        for customer in CUSTOMERS:
            group.create_task(_customer(client, customer, tally))
        group.create_task(_outages(shop, server, tally, total))
    say(f"every order has a receipt, {tally.repeats} calls were sent again")
    await until(lambda: _awards(ledger, tally)[0] == total, SETTLED_WITHIN_SECONDS)
    broker = client.broker
    assert isinstance(broker, KeptBroker), "the server has JetStream"
    return len(await dead_letters(broker, topic=created.name))


async def _customer(client: Client, customer: str, tally: Tally) -> None:
    for number in range(ORDERS_PER_CUSTOMER):
        item, quantity = BASKETS[number % len(BASKETS)]
        order = PlaceOrder(customer=customer, item=item, quantity=quantity)
        tally.placed.add(order.id)
        tally.accepted.add(await _receipt(client, order, tally))
        await asyncio.sleep(PAUSE_SECONDS)


async def _receipt(client: Client, order: PlaceOrder, tally: Tally) -> str:
    """Send an order until there is a receipt: no answer says nothing of whether it was accepted."""
    while True:
        try:
            receipt = await client.call(
                "orders", "Orders.Place", order, Receipt, timeout=CALL_TIMEOUT_SECONDS
            )
        except MicroError:
            tally.repeats += 1
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return receipt.order


async def _outages(shop: Shop, server: NatsServer, tally: Tally, total: int) -> None:
    """Kill one thing after the other, each after a further part of the orders was accepted."""
    await _accepted(tally, total * 0.1)
    say("killing points-1, while points-2 goes on")
    await shop.kill("points-1")
    await _accepted(tally, total * 0.25)
    say("killing points-2: no instance of points is left, orders are accepted without discount")
    await shop.kill("points-2")
    await _accepted(tally, total * 0.4)
    say("starting points again: it has a backlog")
    await shop.start("points", "points-1")
    await shop.start("points", "points-2")
    await _accepted(tally, total * 0.5)
    say("killing orders, and starting it again")
    await shop.kill("orders-1")
    await shop.start("orders", "orders-1")
    await _accepted(tally, total * 0.7)
    say(f"killing the nats-server for {SERVER_DOWN_SECONDS:g} s")
    server.kill()
    await asyncio.sleep(SERVER_DOWN_SECONDS)
    server.start()
    await server.wait()
    say("the nats-server is back")


async def _accepted(tally: Tally, count: float) -> None:
    await until(lambda: len(tally.accepted) >= count, ACCEPTED_WITHIN_SECONDS)


def _awards(ledger: Path, tally: Tally) -> tuple[int, int]:
    """How many accepted orders were awarded, and how many of them more than once."""
    query = "SELECT order_id, COUNT(*) FROM awards GROUP BY order_id"
    with closing(sqlite3.connect(ledger, timeout=10)) as database:
        awards: dict[str, int] = dict(database.execute(query).fetchall())
    awarded = {order: count for order, count in awards.items() if order in tally.accepted}
    return len(awarded), sum(count > 1 for count in awards.values())


def _table(tally: Tally, awarded: int, twice: int, lost: int, dead: int) -> str:
    counts = {
        "placed": len(tally.placed),
        "accepted": len(tally.accepted),
        "awarded": awarded,
        "twice": twice,
        "lost": lost,
        "dead": dead,
    }
    heads = "".join(name.rjust(10) for name in counts)
    return f"\n{heads}\n{''.join(str(count).rjust(10) for count in counts.values())}\n"
