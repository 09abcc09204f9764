"""The permissions that `micro nats-perms` prints are enough for stored events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from micro.backend import BackendOptions, ConnectionState
from micro.broker.kept_types import Durable, TopicSpec
from micro.errors import Forbidden
from micro.message import Message
from micro.testing import KeptMailbox
from micro_nats import open_nats
from micro_nats.devserver import run_server
from micro_nats.permissions import Capability, Needs, as_config, grants_for
from tests.plugins.micro_nats.helpers import Events

EVENT = Message({}, b"1")
SPEC = TopicSpec(name="orders.created", partitions=2)


def config(folder: Path, **needs: object) -> Path:
    permissions = as_config(grants_for(Needs(**needs)))
    file = folder / "nats.conf"
    file.write_text(f'authorization {{ users: [{{ user: a, password: "a"\n{permissions} }}] }}')
    return file


@pytest.mark.parametrize("namespace", ["", "shop"])
async def test_a_service_stores_and_reads_under_what_is_printed(
    tmp_path: Path, namespace: str
) -> None:
    needs = {
        "capabilities": frozenset({Capability.STORE, Capability.READ}),
        "stored": (SPEC.name,),
        "durable": (SPEC.name,),
        "namespace": namespace,
    }
    events, box = Events(), KeptMailbox()
    driver = {"namespace": namespace, "user": "a", "password": "a"}
    async with run_server(jetstream=True, config=config(tmp_path, **needs)) as server:
        options = BackendOptions(addresses=(server.address,), on_event=events, driver=driver)
        async with open_nats(options) as backend:
            broker, soon = backend.broker, datetime.now(UTC) + timedelta(seconds=0.3)
            await broker.ensure(SPEC, create=True)
            async with await broker.consume(SPEC.name, box, Durable(name="d")):
                await broker.store(SPEC.name, EVENT, id="1", partition=1)
                await broker.store(SPEC.name, EVENT, id="2", at=soon)
                await broker.store(SPEC.name, EVENT, id="3", to="d")
                await broker.store(SPEC.name, EVENT, id="4", to="d", at=soon)
                await box.ack(4)
            async with broker.read(SPEC.name, start="all") as found:
                assert (await anext(found)).partition == 1

    assert ConnectionState.DENIED not in events.states
    assert sorted(delivery.stored.id for delivery in box.deliveries) == ["1", "2", "3", "4"]


async def test_another_topic_is_forbidden(tmp_path: Path) -> None:
    needs = {"capabilities": frozenset({Capability.STORE}), "stored": ("orders.paid",)}
    async with run_server(jetstream=True, config=config(tmp_path, **needs)) as server:
        driver = {"user": "a", "password": "a"}
        options = BackendOptions(addresses=(server.address,), driver=driver)
        async with open_nats(options) as backend:
            await backend.broker.ensure(TopicSpec(name="orders.paid"), create=True)
            with pytest.raises(Forbidden):
                await backend.broker.ensure(SPEC, create=True)
            with pytest.raises(Forbidden):
                await backend.broker.store(SPEC.name, EVENT, id="1")
