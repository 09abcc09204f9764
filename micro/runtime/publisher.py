"""What a service publishes goes through the client of its run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from micro.broker.kept_types import Receipt
from micro.client.client import Client
from micro.events.window import DEFAULT_WINDOW, WINDOW_TIMEOUT_SECONDS, TopicPublisher
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
        id: str | None = ...,
        headers: dict[str, str] | None = ...,
        confirm: bool = ...,
        timeout: float | str | timedelta | None = ...,
        delay: float | str | timedelta | None = ...,
        at: datetime | None = ...,
    ) -> Receipt: ...

    @overload
    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        id: str | None = ...,
        headers: dict[str, str] | None = ...,
        confirm: bool = ...,
        timeout: float | str | timedelta | None = ...,
        delay: float | str | timedelta | None = ...,
        at: datetime | None = ...,
    ) -> Receipt: ...

    async def publish(
        self,
        topic: str | Topic[Any],
        event: Any,
        *,
        id: str | None = None,
        headers: dict[str, str] | None = None,
        confirm: bool = False,
        timeout: float | str | timedelta | None = None,
        delay: float | str | timedelta | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Publish an event; see `Client.publish`."""
        return await self.client.publish(
            topic,
            event,
            id=id,
            headers=headers,
            confirm=confirm,
            timeout=timeout,
            delay=delay,
            at=at,
        )

    @overload
    def publisher(
        self, topic: Topic[E], *, window: int = ..., timeout: float | str | timedelta | None = ...
    ) -> AbstractAsyncContextManager[TopicPublisher[E]]: ...

    @overload
    def publisher(
        self, topic: str, *, window: int = ..., timeout: float | str | timedelta | None = ...
    ) -> AbstractAsyncContextManager[TopicPublisher[Any]]: ...

    def publisher(
        self,
        topic: str | Topic[Any],
        *,
        window: int = DEFAULT_WINDOW,
        timeout: float | str | timedelta | None = WINDOW_TIMEOUT_SECONDS,
    ) -> AbstractAsyncContextManager[TopicPublisher[Any]]:
        """Publish many events of a topic; see `Client.publisher`."""
        return self.client.publisher(topic, window=window, timeout=timeout)
