"""Nodes in the registry that speak something else than NATS: go-micro's gRPC and HTTP servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from micro import Client, Service
from micro.backend import Backend
from micro.errors import ServiceUnavailable
from micro.registry.record import Node, ServiceRecord
from micro.service import open_client
from micro.settings.load import Settings, load_settings
from micro_nats.devserver import NatsServer

pytestmark = pytest.mark.both_loops

GRPC = {"broker": "nats", "protocol": "grpc", "registry": "nats", "server": "grpc"}
OTHERS = [
    ({**GRPC, "transport": "grpc"}, "transport is 'grpc'"),
    (GRPC, "protocol is 'grpc'"),
    ({"transport": "http", "protocol": "mucp"}, "transport is 'http'"),
    ({"protocol": "http"}, "protocol is 'http'"),
]


@pytest.fixture
def settings(server: NatsServer) -> Settings:
    return load_settings(["--transport-address", server.address], {})


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with open_client(settings) as client:
        yield client


def speaking(name: str, metadata: dict[str, str]) -> ServiceRecord:
    node = Node(id=f"{name}-1", address="10.0.0.5:50051", metadata=metadata)
    return ServiceRecord(name=name, version="latest", nodes=(node,))


@pytest.mark.parametrize(("metadata", "reason"), OTHERS)
async def test_a_call_to_nodes_of_another_protocol_fails_at_once_with_the_reason(
    client: Client, backend: Backend, metadata: dict[str, str], reason: str
) -> None:
    record = speaking("greeter", metadata)
    async with backend.registry.register(record, ttl=90, interval=30):
        with pytest.raises(ServiceUnavailable, match=reason) as caught:
            await client.call("greeter", "Greeter.Hello", timeout=5)

    assert "10.0.0.5:50051" in caught.value.detail
    assert caught.value.refused


async def test_nodes_of_another_protocol_are_passed_over_while_one_speaks_nats(
    client: Client, backend: Backend, settings: Settings
) -> None:
    service = Service("greeter")

    @service.handler
    async def hello() -> str:
        return "hello"

    record = speaking("greeter", OTHERS[0][0])
    async with (
        backend.registry.register(record, ttl=90, interval=30),
        service.running(settings=settings),
    ):
        answers = [await client.call("greeter", "Greeter.Hello", None, str) for _ in range(20)]

    assert answers == ["hello"] * 20
