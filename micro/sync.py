"""A synchronous client, for scripts and for plain `def` handlers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar, Unpack, overload

from micro.broker.kept_types import Receipt
from micro.client.client import Client
from micro.client.options import CallOptions
from micro.codec import Codec
from micro.runtime.clients import open_client
from micro.service import Service
from micro.settings.load import Settings, load_settings
from micro.topic import Topic

__all__ = ["SyncClient", "client_of", "connect"]

R = TypeVar("R")
E = TypeVar("E")

_CLOSE_SECONDS = 10.0


class SyncClient:
    """Calls services and publishes events, and blocks its thread until each is done.

    Any number of threads may share it; each waits for its own call, which the call's timeout
    bounds. It refuses to work in a thread that runs an event loop.

    Args:
        client: Does the work, on its own event loop.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._run = client.bridge.run

    @overload
    def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response_type: type[R],
        **options: Unpack[CallOptions[R]],
    ) -> R: ...

    @overload
    def call(
        self,
        service: str,
        endpoint: str,
        request: Any = ...,
        response_type: Any = ...,
        **options: Unpack[CallOptions[Any]],
    ) -> Any: ...

    def call(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        response_type: Any = Any,
        **options: Unpack[CallOptions[Any]],
    ) -> Any:
        """Call an endpoint and wait for its answer; see `Client.call`.

        Raises:
            MicroError: see `Client.call`.
            UsageError: this thread runs an event loop, or the client is closed.
        """
        return self._run(
            lambda: self._client.call(service, endpoint, request, response_type, **options)
        )

    @overload
    def publish(
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
    def publish(
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

    def publish(
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
        """Publish an event; see `Client.publish`.

        Raises:
            MicroError: see `Client.publish`.
            UsageError: this thread runs an event loop, or the client is closed.
        """
        return self._run(
            lambda: self._client.publish(
                topic,
                event,
                id=id,
                headers=headers,
                confirm=confirm,
                timeout=timeout,
                delay=delay,
                at=at,
            )
        )

    def flush(self) -> None:
        """Wait until the broker has taken all that was published before."""
        self._run(self._client.flush)


def client_of(service: Service) -> SyncClient:
    """The client of a running service, for its plain `def` handlers and their threads.

    Inside a handler the handler's deadline and trace hold for its calls, as in an `async def`.

    Raises:
        UsageError: the service is not running.
    """
    return SyncClient(service.client)


@contextmanager
def connect(
    settings: Settings | None = None, *, codecs: Iterable[Codec] = (), name: str = "micro-client"
) -> Iterator[SyncClient]:
    """A client without a service, on an event loop in a thread of its own.

        with micro.sync.connect() as client:
            print(client.call("points", "Points.Total", None, int))

    Args:
        settings: Which plugins to use and how; from the environment when not given.
        codecs: Codecs beside the usual ones.
        name: The name of its connections on their servers.

    Raises:
        MicroError: a server cannot be reached within `connect_timeout`.
    """
    loop = _LoopThread(load_settings() if settings is None else settings, codecs, name)
    loop.start()
    try:
        yield SyncClient(loop.opened.result())
    finally:
        loop.close()


class _LoopThread(threading.Thread):
    """The thread with the event loop; a daemon, so that it never keeps a process alive."""

    def __init__(self, settings: Settings, codecs: Iterable[Codec], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.opened: Future[Client] = Future()
        self._options = settings, tuple(codecs), name
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve())
            except Exception as error:
                if self.opened.done():
                    raise
                self.opened.set_exception(error)

    def close(self) -> None:
        """Close the client, and wait for the end of the thread, within a bound."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)
        self.join(_CLOSE_SECONDS)

    async def _serve(self) -> None:
        settings, codecs, name = self._options
        async with open_client(settings, codecs=codecs, name=name) as client:
            self.opened.set_result(client)
            await self._ended.wait()
