"""Events without an envelope: from and to the `nats` command, Kratos, and any NATS client."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from pydantic import BaseModel

from micro import Context, Service
from micro.backend import Backend, BackendOptions
from micro.errors import CodecError, NoSubscribers
from micro.message import Message
from micro.settings.load import load_settings
from micro.testing import Mailbox
from micro_nats import open_nats
from micro_nats.connection.connection import Connection
from micro_nats.devserver import NatsServer
from tests.plugins.micro_nats.helpers import Inbox

NATS = shutil.which("nats")

pytestmark = pytest.mark.both_loops


class Order(BaseModel):
    id: int
    name: str = ""


@pytest.fixture
async def bare(server: NatsServer) -> AsyncIterator[Backend]:
    options = BackendOptions(addresses=(server.address,), driver={"envelope": "bare"})
    async with open_nats(options) as backend:
        yield backend


def subscribed(topic: str, type_: Any, seen: asyncio.Queue[object]) -> Service:
    service = Service("listener")

    async def on_event(event, ctx: Context) -> None:
        await seen.put((event, ctx.headers.get("zone", "")))

    on_event.__annotations__["event"] = type_
    service.subscriber(topic)(on_event)
    return service


@pytest.mark.parametrize(
    ("type_", "payload", "event"),
    [
        (Order, b'{"id":1,"name":"kratos"}', Order(id=1, name="kratos")),
        (Order, b'  {"id": 2}\n', Order(id=2)),
        (Order, msgpack.packb({"id": 3}), Order(id=3)),
        (dict, b"{}", {}),
        (list, b"[1,2]", [1, 2]),
        (str, b"plain text", "plain text"),
        (str, b'"quoted"', "quoted"),
        (bytes, b"\x00\xff", b"\x00\xff"),
        (int, b"7", 7),
    ],
)
async def test_a_bare_body_is_read_by_the_subscribers_type(
    server: NatsServer, connection: Connection, type_: Any, payload: bytes, event: object
) -> None:
    seen: asyncio.Queue[object] = asyncio.Queue()
    service = subscribed("bare.guess", type_, seen)
    settings = load_settings(["--transport-address", server.address], {})
    async with service.running(settings=settings):
        connection.publish_now("bare.guess", "", payload)
        async with asyncio.timeout(5):
            assert await seen.get() == (event, "")


async def test_a_nats_header_names_the_content_type_and_others_reach_the_handler(
    server: NatsServer, connection: Connection
) -> None:
    seen: asyncio.Queue[object] = asyncio.Queue()
    service = subscribed("bare.named", Order, seen)
    settings = load_settings(["--transport-address", server.address], {})
    block = b"NATS/1.0\r\ncontent-type: application/json\r\nzone: a\r\n\r\n"
    async with service.running(settings=settings):
        connection.publish_now("bare.named", "", b'{"Header":{},"Body":"","id":4}', block)
        async with asyncio.timeout(5):
            assert await seen.get() == (Order(id=4), "a")


async def test_the_option_bare_publishes_the_body_with_nats_headers(
    bare: Backend, connection: Connection
) -> None:
    inbox = Inbox()
    await connection.subscribe("bare.out", inbox)
    headers = {"Content-Type": "application/json", "Micro-ID": "1", "zone": "Zoë"}
    await bare.broker.publish("bare.out", Message(headers, b'{"id":1}'))
    await inbox.wait_for(1)

    assert inbox.messages == [("bare.out", "", b'{"id":1}', headers)]


async def test_bare_and_enveloped_events_reach_the_same_subscriber(
    bare: Backend, backend: Backend
) -> None:
    event = Message({"Content-Type": "application/json", "zone": "a"}, b"1")
    box = Mailbox()
    async with await backend.broker.subscribe("bare.both", box):
        await bare.broker.publish("bare.both", event)
        await backend.broker.publish("bare.both", event)
        await box.wait_for(2)

    assert [delivery.message for delivery in box.deliveries] == [event, event]


async def test_a_header_that_nats_cannot_carry_is_refused(bare: Backend) -> None:
    with pytest.raises(CodecError, match="zone"):
        await bare.broker.publish("bare.bad", Message({"zone": "a\r\nb: c"}, b"1"))


@pytest.mark.skipif(NATS is None, reason="the `nats` command is not installed")
async def test_the_nats_command_publishes_to_a_subscriber_and_hears_what_is_published(
    server: NatsServer,
) -> None:
    assert NATS is not None
    seen: asyncio.Queue[object] = asyncio.Queue()
    service = subscribed("bare.command", Order, seen)
    flags = ["--transport-address", server.address, "--nats-envelope", "bare"]
    async with service.running(settings=load_settings(flags, {})) as client:
        sub = await asyncio.create_subprocess_exec(
            *(NATS, "--server", server.address, "sub", "bare.back", "--count", "1", "--raw"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        pub = await asyncio.create_subprocess_exec(
            *(NATS, "--server", server.address, "pub", "bare.command", '{"id": 5}'),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(20):
            assert await pub.wait() == 0
            assert await seen.get() == (Order(id=5), "")
            while not await published(client, Order(id=6)):
                continue
            out, _ = await sub.communicate()

    assert Order.model_validate_json(out) == Order(id=6)


async def published(client: Any, event: Order) -> bool:
    """Publish once the command has subscribed."""
    try:
        await client.publish("bare.back", event, confirm=True)
    except NoSubscribers:
        return False
    return True
