"""What a registry promises: which nodes serve a service, and to report each change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from micro.registry.record import ServiceRecord

__all__ = ["Registration", "Registry", "Watch"]

Registration = AbstractAsyncContextManager[None]
"""A registration: the nodes are registered inside the `async with` block and removed after it."""

Watch = AbstractAsyncContextManager[AsyncIterator[tuple[ServiceRecord, ...]]]
"""An open watch: an iterator of whole sets, inside the `async with` block."""


class Registry(ABC):
    """Keeps records of services; they may be stale by a moment, never by more than their TTL."""

    @property
    def reachable(self) -> bool:
        """Whether the registry can be asked now; while not, an empty answer may be out of date."""
        return True

    @abstractmethod
    def register(self, record: ServiceRecord, *, ttl: float, interval: float) -> Registration:
        """Make the record's nodes known, for as long as the block lasts.

        Entering returns when others can see the nodes. Inside the block the record is announced
        again every `interval` seconds and whenever a lost connection is restored; leaving it takes
        the nodes back.

        Args:
            record: The service with this process's nodes.
            ttl: Seconds after which others forget a node that was not announced again.
            interval: Seconds between announcements; less than `ttl`.

        Raises:
            InvalidName: the service's name cannot be used.
            ConnectionLost: there is no connection.
        """

    @abstractmethod
    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """Ask who serves `name`: a record for each version, merged by node id and address.

        Nodes of one version that offer different endpoints are in records of their own. Empty when
        no node answers; always returns within a bound.

        Raises:
            ConnectionLost: there is no connection.
        """

    @abstractmethod
    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """Ask for all services, sorted by name and version; always back within a bound.

        Raises:
            ConnectionLost: there is no connection.
        """

    @abstractmethod
    def watch(self, name: str) -> Watch:
        """Follow one service.

        The iterator gives the whole present set first, empty if there is no node, and then the
        whole set each time it changes: a node that joins, leaves, changes or outlives its TTL. A
        slow reader sees the newest set, not each one on the way. It survives a lost connection.

        Args:
            name: The service's name.
        """
