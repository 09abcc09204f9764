"""A process that kills itself: python -m ....dies URL (outbox | inbox | relay) POINT

It writes an event, applies one, or relays, and dies at the point: before or after the commit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from micro import OutboxEvent
from micro_sql import SqlInbox, SqlOutbox
from micro_sql.database import database_of


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def write(url: str, point: str) -> None:
    outbox, database = SqlOutbox(url), database_of(url)
    async with database.transaction() as tx:
        await database.session(tx).execute("INSERT INTO effects (id) VALUES ('a')")
        await outbox.publish(tx, "orders.created", {}, id="a")
        if point == "before":
            die()
    die()


async def apply(url: str, point: str) -> None:
    inbox, database = SqlInbox(url), database_of(url)
    async with inbox.claim("points_award", "a") as new:
        assert new
        session = database.session(await inbox.transaction())
        await session.execute("INSERT INTO effects (id) VALUES ('a')")
        if point == "before":
            die()
    die()


async def relay(url: str, point: str) -> None:
    async def send(event: OutboxEvent) -> None:
        print(point, event.id, flush=True)
        await asyncio.Event().wait()

    await SqlOutbox(url).relay(send)


if __name__ == "__main__":
    _, url, what, point = sys.argv
    asyncio.run({"outbox": write, "inbox": apply, "relay": relay}[what](url, point))
