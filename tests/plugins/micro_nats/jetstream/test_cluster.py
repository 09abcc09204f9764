"""Three servers, of which the leader of a stream dies."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count

import pytest

from micro.backend import BackendOptions
from micro.broker.kept_types import Durable, Survives, TopicSpec
from micro.errors import MicroError
from micro.message import Message
from micro.testing import KeptMailbox
from micro_nats import NatsBackend, open_nats
from micro_nats.connection.requests import Requests
from micro_nats.devserver import NatsServer, run_server
from micro_nats.jetstream.names import Names
from tests.plugins.micro_nats.helpers import eventually
from tests.plugins.micro_nats.jetstream.helpers import stored_in

_EVENTS = 5000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@asynccontextmanager
async def cluster() -> AsyncIterator[dict[str, NatsServer]]:
    ports = free_ports(3)
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    servers: dict[str, NatsServer] = {}
    async with AsyncExitStack() as stack:
        for number, port in enumerate(ports):
            own = f"nats://127.0.0.1:{port}"
            arguments = ("-n", f"s{number}", "--cluster_name", "c", "--cluster", own)
            servers[f"s{number}"] = await stack.enter_async_context(
                run_server(jetstream=True, arguments=(*arguments, "--routes", routes))
            )
        yield servers


async def replicated_topic(backend: NatsBackend) -> str:
    """Create topics until one has three copies: the servers take a while to find each other."""
    numbers, names = count(), []

    async def is_replicated() -> bool:
        with suppress(MicroError):
            spec = TopicSpec(name=f"cluster.{next(numbers)}")
            names.append(spec.name)
            return (await backend.broker.ensure(spec, create=True)).spec.replicas == 3
        return False

    await eventually(is_replicated, 60)
    return names[-1]


async def leader_of(backend: NatsBackend, topic: str) -> str:
    subject = f"$JS.API.STREAM.INFO.{Names().stream(topic)}"
    answer = await Requests(backend.connection).request(subject, timeout=5)
    return str(json.loads(answer.payload)["cluster"]["leader"])


async def test_the_death_of_a_leader_loses_and_repeats_no_confirmed_event() -> None:
    async with cluster() as servers:
        addresses = tuple(server.address for server in servers.values())
        async with open_nats(BackendOptions(addresses=addresses)) as backend:
            broker, box = backend.broker, KeptMailbox()
            topic = await replicated_topic(backend)
            confirmed: list[str] = []
            free = asyncio.Semaphore(100)

            async def store(number: int) -> None:
                async with free:
                    with suppress(MicroError):
                        await broker.store(topic, Message({}, b""), id=f"{number}")
                        confirmed.append(f"{number}")

            async with await broker.consume(topic, box, Durable(name="d")):
                storing = asyncio.gather(*map(store, range(_EVENTS)))
                leader = await leader_of(backend, topic)
                await box.ack(1)
                await asyncio.to_thread(servers[leader].kill)
                await storing
                await broker.store(topic, Message({}, b""), id="last")
                acked = 1
                while "last" not in {each.stored.id for each in box.deliveries[:acked]}:
                    acked += 1
                    # The position needs a new leader as well.
                    await box.wait_for(acked, timeout=60)
                    await box.ack(acked)
            found = [event.id for event in await stored_in(backend, topic)]

            assert broker.features.survives is Survives.QUORUM
            assert len(found) == len(set(found))
            assert set(found) >= set(confirmed)
            assert len(confirmed) >= _EVENTS // 2
