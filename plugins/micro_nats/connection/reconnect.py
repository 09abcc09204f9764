"""Chooses the next server and when to try it: at first within a time limit, later without one."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nats.errors import Error as NatsError

from micro.errors import ConfigError, ConnectionLost, MicroError, Unauthorized
from micro.scope import Scope
from micro_nats.connection.addresses import ServerAddress, parse_addresses
from micro_nats.connection.handshake import Greeting, greet
from micro_nats.connection.link import NatsLink
from micro_nats.connection.options import ConnectOptions

__all__ = ["Dialer"]

# Words of nats-server and nats-py for refused credentials; the protocol has no error codes.
_AUTHORIZATION = ("authorization", "authentication", "credentials", "revoked", "nkey", "jwt")
# A server that accepts a connection and closes it at once, as it does when credentials expire,
# counts as one that does not answer.
_MIN_UPTIME_SECONDS = 0.25
_WAIT_FACTOR = 10
_HINT = "start one with `micro server`, or run in memory with --transport=memory"

OpenLink = Callable[[Greeting], NatsLink]
"""Makes a link of an open connection."""


class Dialer:
    """Tries servers in turn, configured ones first.

    Args:
        options: Where the servers are and how to log in.
        scope: Where tasks of links run.
        open_link: Makes a link of each connection.

    Attributes:
        current: The server of the newest connection.
    """

    def __init__(self, options: ConnectOptions, scope: Scope, open_link: OpenLink) -> None:
        self._options = options
        self._scope = scope
        self._open_link = open_link
        self._discovered: tuple[ServerAddress, ...] = ()
        self._last: NatsLink | None = None
        self._connected_at = -_MIN_UPTIME_SECONDS
        self._wait = options.reconnect_wait
        self.current = ""

    @property
    def has_choice(self) -> bool:
        """Whether there is a server besides the current one."""
        return any(server.url != self.current for server in self._pool())

    def discover(self, info: Mapping[str, object]) -> None:
        """Note the servers in INFO's `connect_urls`; their ports are not those of WebSocket."""
        first = self._options.servers[0]
        urls = info.get("connect_urls")
        if not isinstance(urls, list) or first.scheme in ("ws", "wss"):
            return
        try:
            found = parse_addresses([f"{first.scheme}://{url}" for url in urls])
        except ConfigError:
            return
        self._discovered = tuple(
            replace(server, user=first.user, password=first.password) for server in found
        )

    async def first(self, seconds: float) -> NatsLink:
        """Connect for the first time.

        Raises:
            Unauthorized: a server refuses the credentials; it was not tried again.
            ConfigError: TLS or a file of credentials cannot be used.
            ConnectionLost: no server answered within `seconds`; says what was tried.
        """
        failures: dict[str, str] = {}
        try:
            async with asyncio.timeout(seconds) as bound:
                while True:
                    link = await self._try_all(failures, final=True)
                    if link is not None:
                        return link
                    await asyncio.sleep(random.uniform(0.05, 0.15))
        except TimeoutError:
            if not bound.expired():
                raise
        tried = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
        shown = tried or ", ".join(server.url for server in self._options.servers)
        raise ConnectionLost(f"no NATS server within {seconds} s ({shown}): {_HINT}")

    async def again(self, failed: Callable[[str], None]) -> NatsLink:
        """Connect again, without a time limit.

        Args:
            failed: Called with the reasons each time that all servers failed.
        """
        await self.discard()
        if time.monotonic() - self._connected_at > _MIN_UPTIME_SECONDS:
            self._wait = self._options.reconnect_wait
        while True:
            # Many clients lose the same server at once, so even the first try is spread.
            await asyncio.sleep(random.uniform(0, self._wait))
            # A connection that was cut comes back at the first try. If that fails, the server is
            # down: clients spread their tries, or all would connect at once when it returns.
            self._wait = min(self._wait * _WAIT_FACTOR, self._options.reconnect_wait_max)
            failures: dict[str, str] = {}
            link = await self._try_all(failures, final=False)
            if link is not None:
                return link
            failed("; ".join(f"{url}: {reason}" for url, reason in failures.items()))

    async def discard(self) -> None:
        """Close what is left of the newest connection."""
        link, self._last = self._last, None
        if link is not None:
            await link.aclose(abort=True)

    def _pool(self) -> list[ServerAddress]:
        configured = list(self._options.servers)
        known = {server.url for server in configured}
        found = [server for server in self._discovered if server.url not in known]
        if not self._options.connect.get("dont_randomize"):
            random.shuffle(configured)
            random.shuffle(found)
        # The server that was just lost comes last.
        return sorted(configured + found, key=lambda server: server.url == self.current)

    async def _try_all(self, failures: dict[str, str], *, final: bool) -> NatsLink | None:
        """Try each server once; with `final`, raise an error that another try would not change."""
        lasting: MicroError | None = None
        for server in self._pool():
            failures[server.url] = "no answer"
            try:
                return await self._try(server)
            except Exception as error:
                _raise_if_cancelled(error)
                # Errors of sockets, TLS, HTTP, keys and files have no narrower common class.
                failures[server.url] = _reason(error)
                lasting = lasting or _lasting(error, server.url)
        if final and lasting is not None:
            raise lasting
        return None

    async def _try(self, server: ServerAddress) -> NatsLink:
        greeting = await greet(
            server.url,
            await self._arguments(server),
            scope=self._scope,
            certified=self._options.certified,
        )
        self._last = link = self._open_link(greeting)
        self._connected_at = time.monotonic()
        self.current = server.url
        self.discover(link.info)
        return link

    async def _arguments(self, server: ServerAddress) -> dict[str, Any]:
        arguments = await self._options.arguments(server)
        # A cluster names its servers by IP address; their certificates hold names.
        if server in self._discovered and not arguments.get("tls_hostname"):
            arguments["tls_hostname"] = self._options.servers[0].host
        return arguments


def _raise_if_cancelled(error: Exception) -> None:
    """Cancel the task if it was cancelled: the error may have replaced the cancellation.

    That is what `asyncio.wait_for`, which nats-py uses, does on Python 3.11 when a connection
    fails just when it is cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def _reason(error: Exception) -> str:
    if isinstance(error, MicroError):
        return error.detail
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(error).removeprefix("nats: ").strip(" '") or type(error).__name__


def _lasting(error: Exception, url: str) -> MicroError | None:
    """What to raise for an error that another try would not change; `None` for others."""
    reason = _reason(error)
    if isinstance(error, ConfigError):
        return error
    if isinstance(error, ssl.SSLError):
        return ConfigError(f"{url}: TLS failed: {reason}")
    if isinstance(error, NatsError) and any(word in reason.lower() for word in _AUTHORIZATION):
        return Unauthorized(f"{url}: the NATS server refuses the credentials: {reason}")
    return None
