from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from micro import Client, load_settings, open_client
from micro.plugins import Backends
from micro_nats.devserver import NatsServer
from tests.interop.gobuild import GENERATIONS, GoUnavailable
from tests.interop.gopeer import GoPeer, GoServer
from tests.interop.greeter import greeter
from tests.interop.peers import GoPrograms
from tests.interop.table import Table

TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-interop-table", action="store_true", help="rewrite docs/interop.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = Table()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/interop/" in str(item.path).replace("\\", "/"):
            item.add_marker(pytest.mark.interop)
            # One worker, so that the Go programs are started once.
            item.add_marker(pytest.mark.xdist_group("interop"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    marker = item.get_closest_marker("cell")
    params = getattr(getattr(item, "callspec", None), "params", {})
    generation = params.get("generation")
    if marker is None or generation is None or report.when != "call":
        return
    capability, direction = marker.args
    shown = "passes" if report.passed else "fails"
    fault = marker.kwargs.get("fault")
    item.config.stash[TABLE].note(
        capability, generation, direction, fault if fault and report.passed else shown
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write-interop-table", default=False):
        session.config.stash[TABLE].write(GENERATIONS)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    server = NatsServer(monitoring=True)
    server.start()
    asyncio.run(server.wait())
    yield server
    server.stop()


@pytest.fixture(scope="session", params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def go(
    generation: str,
    go_programs: GoPrograms,
    nats_server: NatsServer,
    request: pytest.FixtureRequest,
) -> GoPeer:
    try:
        return GoPeer(generation, go_programs.path(generation), nats_server.address)
    except GoUnavailable as reason:
        request.config.stash[TABLE].missing[generation] = str(reason)
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def go_server(go: GoPeer) -> Iterator[GoServer]:
    server = GoServer(go, f"go-{go.generation}")
    yield server
    server.stop()


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    """A Python client with nothing configured but where NATS is."""
    settings = load_settings(["--transport_address", nats_server.address], {})
    async with open_client(settings) as client:
        yield client


@pytest.fixture
async def python_events(nats_server: NatsServer) -> AsyncIterator[asyncio.Queue[str]]:
    """The Python `greeter` service, with nothing configured but where NATS is."""
    service, received = greeter()
    settings = load_settings(["--transport_address", nats_server.address], {})
    async with (
        Backends(name="greeter", settings=settings) as backends,
        service.running(backends=backends, settings=settings),
    ):
        yield received
