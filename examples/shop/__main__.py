"""Runs the whole shop: a real NATS server, six processes, and a summary. It ends by itself.

python -m examples.shop
python -m examples.shop --outage    # kills services and the server while orders are placed
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from examples.shop.driver import BASKETS, CUSTOMERS
from examples.shop.outage import run_outage
from examples.shop.processes import Shop, say, until, wait_ready
from micro import MicroError, load_settings, open_client
from micro_nats import run_server

NOTIFIED_WITHIN_SECONDS = 5.0


async def run_shop() -> int:
    """Run the shop; gives the exit code."""
    began = time.monotonic()
    orders = len(CUSTOMERS) * len(BASKETS)
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        async with run_server(jetstream=True) as server, asyncio.TaskGroup() as readers:
            say(f"nats-server listens at {server.address}")
            shop = Shop(server.address, Path(folder), readers)
            try:
                code = await _play(shop, server.address)
                # Too few in the end is for the summary to say.
                await until(lambda: _told(shop) == orders, NOTIFIED_WITHIN_SECONDS)
            except (MicroError, TimeoutError) as failure:
                say(str(failure) or "the services were not ready in time")
                code = 1
            finally:
                say("stopping all with SIGTERM")
                stopped = await shop.stop()
    told = _told(shop)
    say(f"{told} of {orders} orders were told of")
    good = code == 0 and stopped and told == orders
    say(f"{'all is well' if good else 'something went wrong'}, {time.monotonic() - began:.1f} s")
    return 0 if good else 1


async def _play(shop: Shop, address: str) -> int:
    await shop.start_all()
    settings = load_settings(["--transport-address", address], {})
    async with open_client(settings, name="demo") as client:
        await wait_ready(client)
    say(f"{len(CUSTOMERS)} customers place {len(BASKETS)} orders each")
    driver = await shop.start("driver", "driver")
    return await driver.wait()


def _told(shop: Shop) -> int:
    return sum(len(lines) for name, lines in shop.lines.items() if "notifications" in name)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run_outage() if "--outage" in sys.argv[1:] else run_shop()))
    except MicroError as failure:
        sys.exit(f"demo: {failure.detail}")
    except KeyboardInterrupt:
        sys.exit(130)
