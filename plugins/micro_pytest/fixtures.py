"""The fixtures. What they need is imported when a test asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from micro.testing import Network
    from micro_nats import NatsServer

__all__ = ["nats_cluster", "nats_server", "network", "pytest_configure"]

MARKER = "network(clock='real', codecs=()): how the fixture `network` opens its network"
CLUSTER_SIZE = 3


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", MARKER)


def _async_fixture(function: Callable[..., AsyncIterator[Any]]) -> Any:
    """A fixture for pytest-asyncio in any mode; without it, for the plugin of anyio."""
    if find_spec("pytest_asyncio") is None:
        return pytest.fixture(function)
    import pytest_asyncio

    return pytest_asyncio.fixture(function)


@_async_fixture
async def network(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    """A test network; `@pytest.mark.network(clock="virtual")` gives its arguments."""
    from micro.testing import network as open_network

    marker = request.node.get_closest_marker("network")
    async with open_network(**(marker.kwargs if marker else {})) as net:
        yield net


@pytest.fixture
def nats_server() -> Iterator[NatsServer]:
    """A nats-server of the test's own on a free port, with JetStream and monitoring.

    The test is skipped where no nats-server is installed.
    """
    _need_server("nats_server")
    from micro_pytest.servers import start_servers

    with ExitStack() as stack:
        (server,) = start_servers(1, stack)
        yield server


@pytest.fixture
def nats_cluster() -> Iterator[tuple[NatsServer, ...]]:
    """Three nats-servers that are one cluster of the test's own, with JetStream and monitoring.

    The test is skipped where no nats-server is installed.
    """
    _need_server("nats_cluster")
    from micro_pytest.servers import start_servers

    with ExitStack() as stack:
        yield start_servers(CLUSTER_SIZE, stack)


def _need_server(fixture: str) -> None:
    from micro.errors import PluginError
    from micro_nats import find_server

    try:
        find_server()
    except PluginError as error:
        pytest.skip(f"the fixture {fixture} needs a nats-server: {error.detail}")
