"""Plugins: found by name, opened once, shared, closed in order."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace

import pytest

import micro.plugins
from micro.backend import Backend
from micro.errors import ConnectionLost, PluginError
from micro.memory import MemoryBackend, open_memory
from micro.plugins import Backends, find_plugin, list_plugins
from micro.settings.load import Settings, load_settings

ALL_MEMORY = Settings(transport="memory", broker="memory", registry="memory")


@pytest.fixture
def install(monkeypatch):
    """Make the given entry points the installed ones."""

    def arrange(*entries, dist=None):
        points = EntryPoints(
            EntryPoint(name=name, value=value, group="micro.plugins") for name, value in entries
        )
        for point in points:
            vars(point).update(dist=dist)
        monkeypatch.setattr(micro.plugins, "entry_points", points.select)

    return arrange


class Recorder:
    """A plugin that notes how it was opened and closed."""

    def __init__(self, **parts):
        self.parts = parts
        self.log = []

    @asynccontextmanager
    async def open(self, options):
        backend = MemoryBackend()
        for part in ("transport", "broker", "registry"):
            if part not in self.parts:
                setattr(backend, part, None)
        self.log.append(options)
        yield backend
        self.log.append("closed")


@pytest.fixture
def recorder(install, monkeypatch):
    recorder = Recorder(transport=1, broker=1, registry=1)
    monkeypatch.setitem(sys.modules, "recorder", type("M", (), {"open": recorder.open}))
    install(("rec", "recorder:open"), ("memory", "micro.memory:open_memory"))
    return recorder


def complaint(name):
    with pytest.raises(PluginError) as caught:
        find_plugin(name)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_the_memory_plugin_is_installed_like_any_other() -> None:
    assert find_plugin("memory") is open_memory
    assert {"memory", "nats"} <= set(list_plugins())


def test_a_dotted_path_names_a_plugin() -> None:
    assert find_plugin("micro.memory:open_memory") is open_memory


def test_an_unknown_name_lists_what_is_installed_and_what_would_help(install) -> None:
    install(("memory", "micro.memory:open_memory"))

    assert "unknown plugin 'kafka' (installed: memory); install" in complaint("kafka")
    assert "did you mean 'memory'?" in complaint("memori")


def test_a_plugin_whose_package_is_missing_names_it(install) -> None:
    install(("bus", "no_such_package.sub:open_bus"))

    assert complaint("bus") == "plugin 'bus' needs the package 'no_such_package', which is not" + (
        " installed"
    )


def test_a_plugin_that_lost_its_own_package_names_the_distribution(install) -> None:
    install(("bus", "no_such_package.sub:open_bus"), dist=SimpleNamespace(name="bus-plugin"))

    assert complaint("bus") == "plugin 'bus': its package 'no_such_package' is missing; " + (
        "reinstall bus-plugin"
    )


@pytest.mark.parametrize("path", ["micro.memory:nothing", "micro.memory:__name__", ":x", "micro:"])
def test_a_path_that_leads_nowhere_is_refused(path) -> None:
    assert repr(path) in complaint(path)


def test_two_packages_with_one_name_are_refused(install) -> None:
    install(("bus", "a:open_bus"), ("bus", "b:open_bus"))

    assert "'bus' is offered by a:open_bus and b:open_bus" in complaint("bus")


def test_nothing_is_imported_before_it_is_named(install) -> None:
    install(("bus", "no_such_package:open_bus"), ("memory", "micro.memory:open_memory"))

    assert find_plugin("memory") is open_memory


async def test_three_parts_of_one_plugin_share_one_backend(recorder) -> None:
    settings = load_settings(
        ["--transport=rec", "--broker=rec", "--registry=rec", "--broker_address=a:1", "--rec-x=1"],
        {},
    )

    async with Backends(name="points@1/x", settings=settings) as backends:
        await backends.transport()
        await backends.broker()
        await backends.registry()
        (options,) = recorder.log

    assert (options.name, options.addresses, options.driver) == ("points@1/x", ("a:1",), {"x": "1"})
    assert recorder.log[1:] == ["closed"]


async def test_different_addresses_are_opened_apart(recorder) -> None:
    settings = Settings(
        transport="rec", broker="rec", transport_address=("a:1",), broker_address=("b:1",)
    )

    async with Backends(name="x", settings=settings) as backends:
        await backends.transport()
        await backends.broker()

        assert [options.addresses for options in recorder.log] == [("a:1",), ("b:1",)]


async def test_a_part_that_a_plugin_lacks_is_named(recorder) -> None:
    recorder.parts.pop("broker")
    async with Backends(name="x", settings=Settings(broker="rec")) as backends:
        with pytest.raises(PluginError, match="plugin 'rec' offers no broker"):
            await backends.broker()


async def test_given_parts_are_used_and_stay_open() -> None:
    network = MemoryBackend()
    given = {"transport": network.transport, "broker": network, "registry": network}

    async with Backends(name="x", settings=Settings(), given=given) as backends:
        assert await backends.transport() is network.transport
        assert await backends.broker() is network.broker
        assert await backends.registry() is network.registry
        await backends.check()
    await network.check()


async def test_a_given_thing_that_is_no_part_is_refused() -> None:
    async with Backends(name="x", settings=Settings(), given={"broker": "nats"}) as backends:
        with pytest.raises(PluginError, match="neither a broker nor a backend"):
            await backends.broker()


async def test_a_given_backend_without_the_part_is_named() -> None:
    class Half(Backend):
        async def check(self) -> None: ...

    async with Backends(name="x", settings=Settings(), given={"broker": Half()}) as backends:
        with pytest.raises(PluginError, match="given as broker offers no broker"):
            await backends.broker()


async def test_check_asks_every_backend_that_is_open() -> None:
    async with Backends(name="x", settings=ALL_MEMORY) as backends:
        backend = (await backends.transport(), backends)
        await backends.check()
        backend[0].close()
        network = next(iter(backends._open.values()))
        network.close()

        with pytest.raises(ConnectionLost):
            await backends.check()


async def test_events_of_an_opened_plugin_are_passed_on() -> None:
    seen = []
    async with Backends(name="x", settings=ALL_MEMORY, on_event=seen.append) as backends:
        await backends.transport()

    assert [event.state for event in seen] == ["connected", "closed"]
