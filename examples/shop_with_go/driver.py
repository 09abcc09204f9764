"""Places orders as customers would, and checks that the shop's books are right.

    python -m examples.shop_with_go.driver --transport-address 127.0.0.1:4222

The exit code is 0 when every check holds.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from examples.shop_with_go.models import Balance, Customer, PlaceOrder, Receipt, Totals
from micro import BadRequest, Client, MicroError, NotFound, load_settings, open_client

CUSTOMERS = ("ann", "bob", "cho", "dan", "eve")
BASKETS = (("tea", 2), ("coffee", 1), ("cake", 3), ("teapot", 1))
REFUSED: tuple[tuple[dict[str, object], type[MicroError]], ...] = (
    ({"customer": "ann", "item": "unicorn", "quantity": 1}, NotFound),
    ({"customer": "bob", "item": "tea", "quantity": 0}, BadRequest),
)
AWARDED_WITHIN = 5.0


@dataclass
class Book:
    """What the driver knows from receipts alone."""

    receipts: dict[str, list[Receipt]] = field(default_factory=lambda: defaultdict(list))
    refusals: list[str] = field(default_factory=list)
    checks: list[tuple[bool, str]] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """How many orders were accepted."""
        return sum(len(each) for each in self.receipts.values())

    def check(self, holds: bool, text: str) -> None:
        """Note whether something holds that should."""
        self.checks.append((holds, text))


async def shop(client: Client, book: Book) -> None:
    """Order everything: all customers at once, one basket after the other."""
    for round_number in range(len(BASKETS)):
        orders = [
            _place(client, book, customer, *BASKETS[(place + round_number) % len(BASKETS)])
            for place, customer in enumerate(CUSTOMERS)
        ]
        await asyncio.gather(*orders)
        # The next basket is cheaper for who has points by then, and events take a moment.
        await _awarded(client, book.accepted)


async def be_refused(client: Client, book: Book) -> None:
    """Order what cannot be had; each refusal must be the right error."""
    for order, expected in REFUSED:
        try:
            await client.call("orders", "Orders.Place", order, Receipt)
        except MicroError as error:
            book.refusals.append(str(error))
            book.check(isinstance(error, expected), f"{order['item']} was refused: {error}")
        else:
            book.check(False, f"{order} should have been refused")


async def audit(client: Client, book: Book) -> tuple[list[Balance], Totals]:
    """Compare the receipts with what the points service has."""
    totals = await client.call("points", "Points.Totals", None, Totals)
    balances = [
        await client.call("points", "Points.Balance", Customer(name=name), Balance)
        for name in CUSTOMERS
    ]
    book.check(
        totals.awards == book.accepted,
        f"{book.accepted} orders accepted, points awarded {totals.awards} times",
    )
    for balance in balances:
        expected = sum(receipt.points for receipt in book.receipts[balance.customer])
        if balance.points != expected:
            book.check(False, f"{balance.customer} has {balance.points} points, not {expected}")
    return balances, totals


def summary(book: Book, balances: Sequence[Balance], totals: Totals) -> str:
    """The tables that end the show."""
    rows: list[tuple[str, int, int, int, int]] = []
    for balance in balances:
        receipts = book.receipts[balance.customer]
        paid, saved = sum(r.paid for r in receipts), sum(r.saved for r in receipts)
        rows.append((balance.customer, len(receipts), paid, saved, balance.points))
    sums = [sum(int(row[place]) for row in rows) for place in range(1, 5)]
    lines = ["", _line("CUSTOMER", "ORDERS", "PAID", "SAVED", "POINTS")]
    lines += [_line(name, n, _money(p), _money(s), points) for name, n, p, s, points in rows]
    lines.append(_line("total", sums[0], _money(sums[1]), _money(sums[2]), sums[3]))
    lines += ["", _line("POINTS PROCESS", "AWARDS")]
    lines += [_line(str(process), awards) for process, awards in totals.by_process.items()]
    lines += ["", *(f"{'ok  ' if holds else 'FAIL'}  {text}" for holds, text in book.checks)]
    return "\n".join(lines)


async def main(argv: Sequence[str]) -> int:
    """Run the whole show; gives the exit code."""
    book = Book()
    async with open_client(load_settings(argv), name="driver") as client:
        await shop(client, book)
        await be_refused(client, book)
        balances, totals = await audit(client, book)
    print(summary(book, balances, totals), flush=True)
    return 0 if all(holds for holds, _ in book.checks) else 1


async def _place(client: Client, book: Book, customer: str, item: str, quantity: int) -> None:
    order = PlaceOrder(customer=customer, item=item, quantity=quantity)
    receipt = await client.call("orders", "Orders.Place", order, Receipt)
    book.receipts[customer].append(receipt)


async def _awarded(client: Client, count: int) -> None:
    """Wait until points were awarded so often; too few in the end is for the audit to say."""
    deadline = asyncio.get_running_loop().time() + AWARDED_WITHIN
    while asyncio.get_running_loop().time() < deadline:
        totals = await client.call("points", "Points.Totals", None, Totals)
        if totals.awards >= count:
            return
        await asyncio.sleep(0.02)


def _line(first: str, *rest: object) -> str:
    return first.ljust(16) + "".join(str(cell).rjust(9) for cell in rest)


def _money(cents: int) -> str:
    return f"{cents / 100:.2f}"


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except MicroError as failure:
        sys.exit(f"driver: {failure}")
