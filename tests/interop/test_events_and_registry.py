from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from micro import Client, Service, load_settings
from micro.plugins import Backends
from micro_nats.devserver import NatsServer
from tests.interop.gopeer import GoPeer, GoServer, end, next_line
from tests.interop.greeter import TOPIC, Req

GO_CALLS, PYTHON_CALLS = "Go calls Python", "Python calls Go"
cell = pytest.mark.cell


@cell("publish and subscribe", GO_CALLS)
async def test_python_receives_events_of_go(go: GoPeer, python_events: asyncio.Queue[str]) -> None:
    await go.run("publish", "--topic", TOPIC, "--json", '{"name": "event"}', "--count", "5")

    async with asyncio.timeout(10):
        heard = [await python_events.get() for _ in range(5)]
    assert heard == ["event"] * 5


@cell("publish and subscribe", PYTHON_CALLS)
async def test_go_receives_events_of_python(client: Client, go_server: GoServer) -> None:
    await client.publish(TOPIC, Req(name="from python"))
    await client.flush()

    # The Go server receives the events of other tests, too.
    while (await asyncio.to_thread(go_server.wait_for, "received"))["name"] != "from python":
        continue


@cell("queue groups shared by Go and Python", PYTHON_CALLS)
async def test_go_and_python_share_a_queue(
    go: GoPeer, client: Client, nats_server: NatsServer
) -> None:
    name = f"shared-{go.generation}"
    topic = f"shared.{go.generation}"
    heard: Counter[str] = Counter()
    all_heard = asyncio.Event()

    def note(who: str) -> None:
        heard[who] += 1
        if heard.total() == 100:
            all_heard.set()

    async def listen(process: asyncio.subprocess.Process) -> None:
        while (await next_line(process)).get("event") != "end":
            note("go")

    service = Service(name)

    @service.subscriber(topic)
    async def on_event(event: Req) -> None:
        note("python")

    settings = load_settings(["--transport_address", nats_server.address], {})
    arguments = ("--topic", topic, "--queue", name, "--max", "0", "--timeout", "30s")
    process = await go.start("subscribe", *arguments)
    try:
        assert (await next_line(process))["event"] == "ready"
        async with (
            Backends(name=name, settings=settings) as backends,
            service.running(backends=backends, settings=settings),
            asyncio.TaskGroup() as tasks,
        ):
            listening = tasks.create_task(listen(process))
            for number in range(100):
                await client.publish(topic, Req(name=str(number)))
            async with asyncio.timeout(20):
                await all_heard.wait()
            listening.cancel()
    finally:
        await end(process)

    assert heard.total() == 100
    assert min(heard["go"], heard["python"]) > 10


@cell("registry: get and list", GO_CALLS)
async def test_go_finds_python_in_the_registry(go: GoPeer, python_events: object) -> None:
    got = await go.run("get", "--service", "greeter")
    listed = await go.run("list")

    (record,) = [line["service"] for line in got if "service" in line]
    assert "Greeter.Hello" in [endpoint["name"] for endpoint in record["endpoints"]]
    assert record["nodes"][0]["metadata"]["protocol"] == "mucp"
    assert "greeter" in [line["service"]["name"] for line in listed if "service" in line]


@cell("registry: get and list", PYTHON_CALLS)
async def test_python_finds_go_in_the_registry(client: Client, go_server: GoServer) -> None:
    (record,) = await client.registry.get_service(go_server.name)
    names = [found.name for found in await client.registry.list_services()]

    assert "Greeter.Hello" in [endpoint.name for endpoint in record.endpoints]
    assert go_server.name in names


@cell("registry: watch registration and deregistration", GO_CALLS)
async def test_go_watches_python_register_and_deregister(
    go: GoPeer, nats_server: NatsServer
) -> None:
    name = f"guest-{go.generation}"
    process = await go.start("watch", "--max", "0", "--timeout", "30s")
    try:
        assert (await next_line(process))["event"] == "ready"
        service = Service(name)
        settings = load_settings(["--transport_address", nats_server.address], {})
        async with Backends(name=name, settings=settings) as backends:
            async with service.running(backends=backends, settings=settings):
                created = await change(process, name)
            deleted = await change(process, name)
    finally:
        await end(process)

    assert (created, deleted) == ("create", "delete")


@cell("registry: watch registration and deregistration", PYTHON_CALLS)
async def test_python_watches_go_register_and_deregister(go: GoPeer, client: Client) -> None:
    name = f"visitor-{go.generation}"
    counts = []
    async with client.registry.watch(name) as changes, asyncio.timeout(30):
        async for records in changes:
            counts.append(sum(len(record.nodes) for record in records))
            if counts == [0]:
                process = await go.start("serve", "--name", name)
            elif counts[-1] == 1 and counts.count(1) == 1:
                process.terminate()
            elif counts[-1] == 0:
                break
        await process.communicate()

    assert counts[0] == 0
    assert counts[-1] == 0
    assert 1 in counts


async def change(process: asyncio.subprocess.Process, name: str) -> str:
    """The action of the next change that the watch prints about a service."""
    while True:
        line = await next_line(process)
        if (line.get("service") or {}).get("name") == name:
            return str(line["action"])
