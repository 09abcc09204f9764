"""One program, two networks: which one is for the settings to say, not for the code.

    python examples/config_swap/service.py --config examples/config_swap/memory.toml
    python examples/config_swap/service.py --config examples/config_swap/nats.toml

A flag wins over the file: `--transport-address 127.0.0.1:4333` names another server.
"""

from __future__ import annotations

import asyncio
import sys

from micro import MicroError, Service, Settings, load_settings
from micro.plugins import Backends

service = Service("greeter")


@service.handler
async def hello(name: str) -> str:
    """Greet a person by name."""
    return f"Hello, {name}!"


@service.subscriber("visits")
async def visit(name: str) -> None:
    """Hear of a visit."""
    print(f"{name} was here")


async def main(settings: Settings) -> None:
    """Open what the settings name, serve on it, and make one call and one event.

    A program that only serves has it shorter: `service.run()` does the same until SIGTERM.
    """
    print(f"calls by {settings.transport}, events by {settings.broker}")
    async with (
        Backends(name=service.name, settings=settings) as backends,
        service.running(backends=backends, settings=settings) as client,
    ):
        print(await client.call("greeter", "Greeter.Hello", "Ann", str))
        await client.publish("visits", "Ann")
        await client.flush()


if __name__ == "__main__":
    try:
        asyncio.run(main(load_settings(sys.argv[1:])))
    except MicroError as failure:
        sys.exit(f"greeter: {failure}")
