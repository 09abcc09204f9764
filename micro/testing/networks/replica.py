"""One run of a service in a test network, in a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from micro.client.client import Client
from micro.errors import UsageError
from micro.handlers.definition import Layers, PartObject, ServiceDefinition
from micro.middleware import Layer
from micro.runtime.configuration import load_for
from micro.runtime.lifecycle import ServiceRunner
from micro.runtime.process import open_backends
from micro.scope import Scope
from micro.settings.load import PARTS
from micro.testing.networks.layers import client_layer, server_layer, subscriber_layer
from micro.testing.networks.line import Line
from micro.testing.networks.wires import Wires

__all__ = ["Replica"]

STOP_SECONDS = 2.0
"""What a replica gets to stop when neither code nor test says otherwise (`shutdown_timeout`)."""


class Replica:
    """One run of a service in a test network; `Network.start` makes it.

    Attributes:
        service: The service's name.
        node: The id of its node in the registry.
        name: What errors call it.
    """

    def __init__(
        self,
        wires: Wires,
        definition: ServiceDefinition,
        settings: Mapping[str, object],
        *,
        number: int,
    ) -> None:
        overrides = {"shutdown_timeout": STOP_SECONDS, **definition.overrides, **settings}
        definition = replace(definition, overrides=overrides)
        self._runner = ServiceRunner(definition, load_for(definition, (), {}))
        self.service: str = self._runner.name
        self.node: str = self._runner.node_id
        self.name: str = f"{self.service}#{number}"
        self._line = Line(wires, self.service, self.node, self.name)
        self._add_layers(wires, definition)
        self._ready = asyncio.Event()
        self._leave = asyncio.Event()
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def client(self) -> Client:
        """The client of this run.

        Raises:
            UsageError: it does not run.
        """
        if not self.is_running:
            raise UsageError(f"{self.name} is not running, so it has no client")
        return self._runner.client

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._ready.is_set() and self._task is not None and not self._task.done()

    @property
    def endpoints(self) -> frozenset[str]:
        """The names of its endpoints."""
        definition = self._runner.definition
        return frozenset(each.name for each in definition.endpoints_of(self.service))

    @property
    def busy(self) -> list[str]:
        """The events that it handles, or that wait there."""
        if not self.is_running:
            return []
        return [
            f"{self.name}: {count} events at {name}"
            for name, count in self._runner.unfinished_events.items()
        ]

    async def start(self, scope: Scope) -> None:
        """Start it; on return it serves. A start that fails raises its own error."""
        task = self._task = scope.start(self._run(), name=self.name)
        ready = scope.start(_wait(self._ready))
        try:
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        self._raise()

    async def stop(self) -> None:
        """Stop it in good order; a second call does nothing."""
        self._leave.set()
        if self._task is not None:
            await asyncio.wait((self._task,))
        self._raise()

    async def kill(self) -> None:
        """End it as in a crash: it says nothing to anyone, and finishes nothing."""
        await self._line.cut()
        self._runner.kill()
        await self.stop()

    async def _run(self) -> None:
        runner = self._runner
        parts: dict[str, PartObject] = dict.fromkeys(PARTS, self._line)
        try:
            async with (
                open_backends([runner], runner.settings, given=parts) as backends,
                runner.running(backends),
            ):
                self._ready.set()
                await self._leave.wait()
        except Exception as error:
            # The boundary of a user's program: who starts or stops it gets its error.
            self._error = error

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _add_layers(self, wires: Wires, definition: ServiceDefinition) -> None:
        """Put the network's layers round those of the service."""
        given = definition.layers
        layers = Layers(
            server=_before(server_layer(wires, self.node), given.server),
            client=_before(client_layer(wires, self.name), given.client),
            subscriber=_before(subscriber_layer(wires), given.subscriber),
            publisher=given.publisher,
        )
        self._runner.definition = replace(definition, layers=layers)


def _before(layer: Layer, layers: Any) -> tuple[Layer, ...]:
    return (layer, *layers)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
