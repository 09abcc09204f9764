"""Middleware: one shape of function, round handlers, round calls and round subscribers.

python examples/middleware.py
"""

from __future__ import annotations

import asyncio
import time

from micro import MemoryBackend, Next, Request, Response, Service, Unauthorized

TOKEN = "open sesame"


async def check_token(request: Request, next: Next) -> Response:
    """Server: refuse calls without the token; the handler need not know."""
    if request.headers.get("Authorization") != TOKEN:
        raise Unauthorized("who are you?")
    return await next(request)


async def add_token(request: Request, next: Next) -> Response:
    """Client: add the token to everything that goes out."""
    request.headers["Authorization"] = TOKEN
    return await next(request)


async def measure(request: Request, next: Next) -> Response:
    """Everywhere: tell how long it took, whatever came of it."""
    began = time.perf_counter()
    try:
        return await next(request)
    finally:
        taken = (time.perf_counter() - began) * 1000
        print(f"{request.side:>10} | {request.endpoint} took {taken:.1f} ms")


async def shout(request: Request, next: Next) -> Response:
    """Client: change what comes back."""
    response = await next(request)
    response.value = response.value.upper()
    return response


# The first layer is the outermost: `measure` also sees the calls that `check_token` refuses.
vault = Service(
    "vault", middleware=[measure, check_token], subscriber_middleware=[measure, check_token]
)
visitor = Service(
    "visitor", client_middleware=[measure, add_token, shout], publish_middleware=[add_token]
)
stranger = Service("stranger")


@vault.handler
async def unlock(door: str) -> str:
    """Open a door."""
    return f"{door} is open"


@vault.subscriber("doors.closed")
async def closed(door: str) -> None:
    """Hear of a door that was closed."""
    print(f"{door} was closed")


async def main() -> None:
    """Call and publish with the token, then without."""
    network = MemoryBackend()
    async with (
        vault.running(network),
        visitor.running(network) as friend,
        stranger.running(network) as unknown,
    ):
        print(await friend.call("vault", "Vault.Unlock", "the front door", str))
        await friend.publish("doors.closed", "the front door")
        try:
            await unknown.call("vault", "Vault.Unlock", "the back door", str)
        except Unauthorized as error:
            print(f"the stranger is told: {error}")


if __name__ == "__main__":
    asyncio.run(main())
