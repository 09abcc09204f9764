"""A program that attacks the registry or the broker in one of several ways."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import nats
from nats.aio.client import Client as Bare
from nats.aio.msg import Msg

from micro_nats.registry.subjects import QUERY_TOPICS, WATCH_TOPICS

__all__ = ["ATTACKS"]

Attack = Callable[[Bare], Awaitable[None]]


def payload(action: str, *nodes: str, ttl: str = "", wide: int = 0, native: bool = True) -> bytes:
    metadata = {"native": "1" if native else "", "protocol": "mucp", "transport": "nats"}
    if ttl:
        metadata["micro-ttl"] = ttl
    listed = [{"id": n, "address": f"_STRANGER.{n}", "metadata": metadata} for n in nodes]
    endpoints = [{"name": f"Golden.E{number}"} for number in range(wide)]
    service = {"name": "golden", "version": "latest", "endpoints": endpoints, "nodes": listed}
    return json.dumps({"Service": service, "Action": action}, separators=(",", ":")).encode()


async def announce_20_000_nodes(stranger: Bare) -> None:
    for number in range(20_000):
        await stranger.publish(WATCH_TOPICS[1], payload("create", f"fake{number}"))


async def announce_silent_nodes(stranger: Bare) -> None:
    """Nodes at subjects that take everything and never answer: 60 of our own kind, 3 go-micro's."""

    async def ignore(message: Msg) -> None: ...

    await stranger.subscribe("_STRANGER.>", cb=ignore)
    for number in range(63):
        data = payload("create", f"silent{number}", native=number < 60)
        await stranger.publish(WATCH_TOPICS[1], data)


async def announce_wide_records(stranger: Bare) -> None:
    """Each offer differs, so that none can be shared: 50 messages of 270 KB."""
    for number in range(50):
        await stranger.publish(
            WATCH_TOPICS[1], payload("create", f"w{number}", wide=9_000 + number)
        )


async def announce_tiny_ttls(stranger: Bare) -> None:
    for number in range(5_000):
        data = payload("create", f"fake{number % 50}", ttl="0.000001")
        await stranger.publish(WATCH_TOPICS[1], data)


async def announce_departures(stranger: Bare) -> None:
    """The genuine node is said to leave, again and again."""
    departure = sys.argv[3].encode()
    for _ in range(2_000):
        await stranger.publish(WATCH_TOPICS[1], departure)


async def answer_with_5_000_nodes(stranger: Bare) -> None:
    names = [f"fake{number}" for number in range(5_000)]
    chunks = [names[at : at + 200] for at in range(0, len(names), 200)]
    services = [json.dumps(json.loads(payload("", *each))["Service"]) for each in chunks]

    async def answer(message: Msg) -> None:
        for service in services:
            await stranger.publish(message.reply, service.encode())

    await stranger.subscribe(QUERY_TOPICS[1], cb=answer)
    # Have clients ask: more new nodes at once than are believed.
    for number in range(200):
        await stranger.publish(WATCH_TOPICS[1], payload("create", f"new{number}"))


async def query_20_000_times(stranger: Bare) -> None:
    for _ in range(20_000):
        await stranger.publish(QUERY_TOPICS[1], b'{"Action":"list"}', reply="_INBOX.nobody.x")


async def query_with_a_topic_as_reply(stranger: Bare) -> None:
    for _ in range(5_000):
        await stranger.publish(QUERY_TOPICS[1], b'{"Action":"list"}', reply="events.orders")


async def publish_unreadable_events(stranger: Bare) -> None:
    for number in range(20_000):
        await stranger.publish("events.orders", b"\x91\x01" if number % 2 else b'{"Header":[')


async def publish_records_that_are_none(stranger: Bare) -> None:
    for _ in range(20_000):
        await stranger.publish(WATCH_TOPICS[1], b'{"Service":[],"Action":"create"}')


async def publish_to_no_one(stranger: Bare) -> None:
    """The yardstick: as many messages, which concern no one."""
    for _ in range(20_000):
        await stranger.publish("events.none", b"x" * 200)


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        publish_to_no_one,
        announce_20_000_nodes,
        announce_silent_nodes,
        announce_wide_records,
        announce_tiny_ttls,
        announce_departures,
        answer_with_5_000_nodes,
        query_20_000_times,
        query_with_a_topic_as_reply,
        publish_unreadable_events,
        publish_records_that_are_none,
    )
}


async def main() -> None:
    """Attack, flush in between, and stay for two seconds, so that queries are answered."""
    stranger = await nats.connect(sys.argv[1], inbox_prefix=b"_STRANGER")
    print("ready", flush=True)
    await ATTACKS[sys.argv[2]](stranger)
    await stranger.flush()
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await stranger.close()


if __name__ == "__main__":
    asyncio.run(main())
