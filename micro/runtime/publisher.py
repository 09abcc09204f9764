"""What a service publishes goes through the client of its run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar, overload

from micro.client.client import Client
from micro.topic import Topic

__all__ = ["ServicePublisher"]

E = TypeVar("E")


class ServicePublisher(ABC):
    """Publishes events on the client of the run that executes the code."""

    @property
    @abstractmethod
    def client(self) -> Client:
        """The client of the run."""

    @overload
    async def publish(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: dict[str, str] | None = ...,
        confirm: bool = ...,
    ) -> None: ...

    @overload
    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        headers: dict[str, str] | None = ...,
        confirm: bool = ...,
    ) -> None: ...

    async def publish(
        self,
        topic: str | Topic[Any],
        event: Any,
        *,
        headers: dict[str, str] | None = None,
        confirm: bool = False,
    ) -> None:
        """Publish an event; see `Client.publish`."""
        await self.client.publish(topic, event, headers=headers, confirm=confirm)
