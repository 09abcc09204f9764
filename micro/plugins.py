"""Plugins: found by name among the installed entry points, opened once, shared by the parts.

An entry point in the group `micro.plugins` has the name that a flag gives and points to an
OpenBackend. Nothing of a plugin is imported before it is named.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Self, TypeVar

from micro.backend import (
    Backend,
    BackendOptions,
    ConnectionEvent,
    OpenBackend,
    ServiceView,
    log_event,
)
from micro.broker import Broker
from micro.broker.contract import Subscription
from micro.errors import PluginError
from micro.registry import Registry
from micro.settings.hints import nearest
from micro.settings.load import Part, Settings
from micro.transport import Transport

__all__ = ["GROUP", "Backends", "find_plugin", "list_plugins"]

GROUP = "micro.plugins"
"""The entry-point group of plugins."""

_NOTHING: Mapping[str, object] = MappingProxyType({})
_P = TypeVar("_P")


def list_plugins() -> tuple[str, ...]:
    """The names of all installed plugins, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def find_plugin(name: str) -> OpenBackend:
    """Load a plugin.

    Args:
        name: An entry point's name, or a dotted path `package.module:attribute`.

    Raises:
        PluginError: it is unknown, cannot be imported, or two packages claim its name.
    """
    entries = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if len(entries) > 1:
        owners = " and ".join(sorted(_owner(entry) for entry in entries.values()))
        raise PluginError(f"plugin {name!r} is offered by {owners}: uninstall all but one")
    if not entries and ":" not in name:
        raise PluginError(_unknown(name))
    path, entry = next(iter(entries.items()), (name, None))
    return _load(name, path, entry)


class Backends:
    """The open plugins of one process or service: each is opened once and shared by its parts.

    Leaving the block closes what was opened here, in the task that entered it. Parts and backends
    that were given as objects stay open.

    Args:
        name: The name of the connections on their servers.
        settings: Which plugin serves each part, where, and how.
        on_event: Called on the event loop with each ConnectionEvent of a plugin opened here.
        given: By part, an object to use in place of the plugin in the settings: the part itself
            or a Backend that offers it.
    """

    def __init__(
        self,
        *,
        name: str,
        settings: Settings,
        on_event: Callable[[ConnectionEvent], None] = log_event,
        given: Mapping[str, Transport | Broker | Registry | Backend] | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._on_event = on_event
        self._given: Mapping[str, object] = given or _NOTHING
        self._stack = AsyncExitStack()
        # Not keyed by the driver's options, which are the same for all uses of one plugin.
        self._open: dict[tuple[str, tuple[str, ...]], Backend] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open.clear()
        await self._stack.aclose()

    async def transport(self) -> Transport:
        """The transport; its plugin is opened when it is not open yet.

        Raises:
            ConfigError: an address or a driver's option cannot be used.
            PluginError: the plugin is unknown or offers no transport.
            ConnectionLost: no server could be reached in time.
        """
        return await self._part("transport", Transport)  # type: ignore[type-abstract]  # only for isinstance

    async def broker(self) -> Broker:
        """The broker; it is opened, and fails, as `transport` does."""
        return await self._part("broker", Broker)  # type: ignore[type-abstract]  # only for isinstance

    async def registry(self) -> Registry:
        """The registry; it is opened, and fails, as `transport` does."""
        return await self._part("registry", Registry)  # type: ignore[type-abstract]  # only for isinstance

    async def check(self) -> None:
        """Make a round trip to the server of every backend in use.

        Raises:
            ConnectionLost: one has no connection, or did not answer in time.
        """
        for backend in self._in_use():
            await backend.check()

    async def show(self, view: ServiceView) -> list[Subscription]:
        """Show a node to the tools of every backend in use; see `Backend.show`."""
        shown = [await backend.show(view) for backend in self._in_use()]
        return [each for each in shown if each is not None]

    def counters(self) -> dict[str, float]:
        """What the backends in use have counted, by name."""
        total = Counter[str]()
        for backend in self._in_use():
            total.update(backend.counters())
        return dict(total)

    def _in_use(self) -> Iterable[Backend]:
        ready = [given for given in self._given.values() if isinstance(given, Backend)]
        return {id(one): one for one in [*ready, *self._open.values()]}.values()

    async def _part(self, part: Part, contract: type[_P]) -> _P:
        given = self._given.get(part)
        if isinstance(given, contract):
            return given
        if given is not None and not isinstance(given, Backend):
            raise PluginError(f"{part}: {given!r} is neither a {part} nor a backend")
        backend = given or await self._open_plugin(part)
        offered: dict[Part, object] = {
            "transport": backend.transport,
            "broker": backend.broker,
            "registry": backend.registry,
        }
        found = offered[part]
        if isinstance(found, contract):
            return found
        owner = f"the backend given as {part}" if given else self._described(part)
        raise PluginError(f"{owner} offers no {part}")

    async def _open_plugin(self, part: Part) -> Backend:
        plugin = self._settings.plugin(part)
        addresses = self._settings.addresses(part)
        key = (plugin, addresses)
        if key not in self._open:
            options = BackendOptions(
                addresses=addresses,
                name=self._name,
                connect_timeout=self._settings.connect_timeout,
                on_event=self._on_event,
                driver=self._settings.plugins.get(plugin, {}),
            )
            try:
                open_backend = find_plugin(plugin)
            except PluginError as error:
                raise PluginError(f"{part}: {error.detail}") from error
            self._open[key] = await self._stack.enter_async_context(open_backend(options))
        return self._open[key]

    def _described(self, part: Part) -> str:
        return f"plugin {self._settings.plugin(part)!r}"


def _load(name: str, path: str, entry: EntryPoint | None) -> OpenBackend:
    module, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise PluginError(_missing(name, module, error, entry)) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(f"plugin {name!r} cannot be loaded from {path!r}: {error}") from error
    if not callable(found):
        raise PluginError(f"plugin {name!r}: {path!r} is not a function that opens a backend")
    return found


def _missing(name: str, module: str, error: ModuleNotFoundError, entry: EntryPoint | None) -> str:
    package = (error.name or str(error)).partition(".")[0]
    if entry is not None and entry.dist is not None and package == module.partition(".")[0]:
        owner = entry.dist.name
        return f"plugin {name!r}: its package {package!r} is missing; reinstall {owner}"
    return f"plugin {name!r} needs the package {package!r}, which is not installed"


def _unknown(name: str) -> str:
    installed = list_plugins()
    text = f"unknown plugin {name!r} (installed: {', '.join(installed) or 'none'})"
    if hint := nearest(name, installed):
        return f"{text}; did you mean {hint!r}?"
    return f"{text}; install the package that offers it, or name it by 'package.module:function'"


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
