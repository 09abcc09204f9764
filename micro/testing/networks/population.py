"""The services of a test network: they are started, faked, stopped and killed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from micro.codec import Codecs
from micro.errors import UsageError
from micro.handlers.contract import read_contract
from micro.handlers.definition import ServiceDefinition
from micro.scope import Scope
from micro.service import Service, define
from micro.testing.networks.fakes import fake_service, service_of
from micro.testing.networks.replica import Replica
from micro.testing.networks.wires import Wires

__all__ = ["Population"]


class Population:
    """The part of a test network that starts and ends services."""

    def __init__(self, wires: Wires, scope: Scope, codecs: Codecs) -> None:
        self._wires = wires
        self._scope = scope
        self._codecs = codecs
        self._replicas: list[Replica] = []

    async def start(
        self,
        service: Service,
        *,
        replicas: int = 1,
        settings: Mapping[str, object] | None = None,
    ) -> tuple[Replica, ...]:
        """Start a service, once or several times; on return every replica serves.

        Args:
            service: What to run. Its transport, broker and registry are the network's own.
            replicas: How many runs; each has its own node and its own client.
            settings: Settings by name, stronger than the service's own; settings of the
                application as a mapping under their prefix.

        Returns:
            The new replicas, in the order of their start.

        Raises:
            UsageError: an argument cannot be used.
            ConfigError: a setting cannot be used.
            Exception: what a lifespan or a start hook raised.
        """
        if not isinstance(service, Service):
            raise UsageError(f"start() takes a Service, got {service!r}: write start(service)")
        if type(replicas) is not int or replicas < 1:
            raise UsageError(f"start(): replicas must be at least 1, got {replicas!r}")
        definition = define(service)
        return tuple([await self._start(definition, settings or {}) for _ in range(replicas)])

    async def fake(
        self, contract: Callable[..., Any], *, service: str = "", **answers: object
    ) -> Replica:
        """Run a service that has a contract's endpoints, with answers that the test gives.

            await net.fake(CatalogApi, get=Item(sku="tea", cents=480))

        An answer is a value, an exception to raise, or a function of the request, `async` or not;
        for a stream of answers a list, or what gives an iterator. A method without an answer raises
        `Unimplemented`, which says so.

        Args:
            contract: A Protocol or an abstract class, as for `Client.use`.
            service: The service's name; `catalog` for endpoints `Catalog.Get` when not given.
            **answers: By the method's name.

        Raises:
            UsageError: an answer is of no method, or does not fit it.
            HandlerError: the contract cannot be read.
        """
        read = read_contract(contract, localns=sys._getframe(1).f_locals)
        definition = fake_service(read, service or service_of(read), answers, self._codecs)
        return await self._start(definition, {})

    async def kill(self, part: Replica | Service | str) -> None:
        """End a replica, or all replicas of a service, as a crash would.

        Its handlers are cancelled, and nothing that they send from then on leaves it. Callers that
        wait for it get `ConnectionLost`. Its node stays in the registry until its TTL has passed.
        Lifespans and stop hooks do run, because they hold resources of the test's own process.

        Raises:
            UsageError: it does not run.
        """
        for replica in self._running(part, "kill"):
            await replica.kill()

    async def stop(self, part: Replica | Service | str) -> None:
        """Stop a replica, or all replicas of a service, in good order.

        Raises:
            UsageError: it does not run.
        """
        for replica in self._running(part, "stop"):
            await replica.stop()

    async def _start(
        self, definition: ServiceDefinition, settings: Mapping[str, object]
    ) -> Replica:
        replica = Replica(self._wires, definition, settings, number=len(self._replicas) + 1)
        self._replicas.append(replica)
        await replica.start(self._scope)
        return replica

    def _running(self, part: Replica | Service | str, verb: str) -> list[Replica]:
        found = [
            each
            for each in self._replicas
            if each.is_running and (each is part or each.service == _name(part))
        ]
        if not found:
            raise UsageError(f"{verb}(): {_name(part)!r} does not run in this network")
        return found

    async def close(self) -> None:
        """Stop what still runs, the last one first."""
        for replica in reversed(self._replicas):
            if replica.is_running:
                await replica.stop()


def _name(part: object) -> str:
    return part if isinstance(part, str) else str(getattr(part, "name", part))
