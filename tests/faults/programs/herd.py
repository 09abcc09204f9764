"""Many connections in one process: how they come back is what is looked at."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack

from micro.backend import BackendOptions
from micro_nats.connection.connection import Observer, open_connection


async def main(address: str, count: int) -> None:
    logging.disable(logging.WARNING)
    restored = 0
    whole = asyncio.Event()

    class Count(Observer):
        def on_restored(self) -> None:
            nonlocal restored
            restored += 1
            if restored >= count:
                whole.set()

    options = BackendOptions(addresses=(address,), name="herd", connect_timeout=30.0)
    async with AsyncExitStack() as stack:
        for _ in range(count):
            connection = await stack.enter_async_context(open_connection(options))
            connection.observe(Count())
        print("all connected", file=sys.stderr)
        await whole.wait()
        print("all restored", file=sys.stderr)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
