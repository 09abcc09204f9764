"""The suites that every plugin passes, for this one as it was installed: by its name alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from micro import Service, load_settings
from micro.backend import Backend, BackendOptions
from micro.plugins import Backends, find_plugin
from micro.testing import BrokerConformance, RegistryConformance, TransportConformance


class Loopback:
    """The fixtures of all three suites."""

    @pytest.fixture
    async def backend(self) -> AsyncIterator[Backend]:
        """The plugin, open."""
        async with find_plugin("loopback")(BackendOptions()) as backend:
            yield backend

    @pytest.fixture
    def other(self, backend: Backend) -> Backend:
        """A second one on the same network; in one process it can be the same."""
        return backend


class TestLoopbackTransport(Loopback, TransportConformance):
    """Sockets and listeners."""


class TestLoopbackBroker(Loopback, BrokerConformance):
    """Topics, patterns and queues."""


class TestLoopbackRegistry(Loopback, RegistryConformance):
    """Records that come, change and go."""


async def test_a_service_runs_on_it_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Settings choose it as they choose any other."""
    caplog.set_level("INFO", logger="micro_loopback")
    flags = [f"--{part}=loopback" for part in ("transport", "broker", "registry")]
    service, settings = Service("greeter"), load_settings(flags, {})

    @service.handler
    async def hello(name: str) -> str:
        return f"Hello, {name}!"

    async with (
        Backends(name="test", settings=settings) as backends,
        service.running(backends=backends, settings=settings) as client,
    ):
        assert await client.call("greeter", "Greeter.Hello", "Ann", str) == "Hello, Ann!"
        await client.publish("greeted", "Ann")

    assert "1 events went through" in caplog.text
    assert "0 messages" not in caplog.text
