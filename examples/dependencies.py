"""Dependencies: what lives as long as the service, what lives as long as one call, and a fake.

python examples/dependencies.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import BaseModel

from micro import BadRequest, Depends, Service


class PointsSettings(BaseModel):
    """The program's own settings: --points-start, MICRO_POINTS_START, or start in [points]."""

    start: int = 100


class Database:
    """Stands for a database: balances, and whether it is open."""

    def __init__(self, start: int) -> None:
        self.balances = {"ann": start}


service = Service("points")
settings = service.config(PointsSettings)


@service.lifespan
async def database() -> AsyncIterator[Database]:
    """Open before the first request, close after the last one."""
    print("the database opens")
    yield Database(settings.value.start)
    print("the database closes")


async def transaction(
    database: Annotated[Database, Depends(database)],
) -> AsyncIterator[dict[str, int]]:
    """Keep what a call changed only if its handler succeeded; the answer is sent after that."""
    changed = dict(database.balances)
    yield changed
    if changed["ann"] < 0:
        raise BadRequest("a balance cannot be negative")
    database.balances = changed


@service.handler
async def spend(points: int, tx: Annotated[dict[str, int], Depends(transaction)]) -> int:
    """Spend points of Ann's."""
    tx["ann"] -= points
    return tx["ann"]


async def report(database: Annotated[Database, Depends(database)]) -> None:
    """Run in the background for as long as the service runs."""
    print(f"in the background: ann has {database.balances['ann']}")


service.start_task(report)


async def main() -> None:
    """Spend points, spend too many, and spend those of a fake."""
    async with service.running() as client:
        print("left:", await client.call("points", "Points.Spend", 30, int))
        try:
            await client.call("points", "Points.Spend", 1000, int)
        except BadRequest as error:
            print("refused:", error.detail)
        print("left:", await client.call("points", "Points.Spend", 1, int))

    with service.override(database, lambda: Database(7)):
        async with service.running() as client:
            print("left in the fake:", await client.call("points", "Points.Spend", 2, int))


if __name__ == "__main__":
    asyncio.run(main())
