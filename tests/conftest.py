"""Fixtures that every test gets."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest

from micro.testing import assert_nothing_left
from micro_nats.devserver import NatsServer, run_server
from tests.interop.peers import GoPrograms

_PROGRAMS = pytest.StashKey[GoPrograms]()


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start, also where a shell's `&` has disabled it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the Go programs while no test's clock runs; each worker of xdist comes here."""
    if any("go_programs" in getattr(item, "fixturenames", ()) for item in session.items):
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        session.config.stash[_PROGRAMS] = programs = GoPrograms()
        programs.build(reporter.write_line if reporter else lambda _: None)


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests that are marked `both_loops` on uvloop as well."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.get_closest_marker("both_loops") is not None:
        uvloop = pytest.importorskip("uvloop")
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture(autouse=True)
def own_kept_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test without kept topics: modules of other tests and examples make them as well.

    A publish by name looks them up in the whole process.
    """
    monkeypatch.setattr("micro.topic._kept", {})


@pytest.fixture(scope="session")
def go_programs(pytestconfig: pytest.Config) -> GoPrograms:
    return pytestconfig.stash[_PROGRAMS]


@pytest.fixture(scope="session")
def jetstream_server() -> Iterator[NatsServer]:
    """A nats-server that stores in files; shared, so use topics of the test's own."""
    server = NatsServer(jetstream=True)
    server.start()
    asyncio.run(server.wait())
    yield server
    server.stop()


@pytest.fixture
async def own_jetstream_server() -> AsyncIterator[NatsServer]:
    """A nats-server that stores in files, for tests that stop or change it."""
    async with run_server(jetstream=True) as server:
        yield server


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        async with assert_nothing_left():
            yield
    else:
        yield  # uvloop opens files of its own while it runs


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest) -> None:
    # Asked for before the test's own fixtures, so it looks after they are closed.
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("nothing_left")
