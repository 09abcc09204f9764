"""Finding a server: the first connection within its bound, later ones without end."""

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
from micro_nats.connection.addresses import ServerAddress, parse_addresses
from micro_nats.connection.link import HardenedClient
from micro_nats.connection.options import Settings

__all__ = ["Dialer"]

_AUTHORIZATION = ("authorization", "authentication", "credentials", "revoked", "nkey", "jwt")
_CERTIFICATE = "the server wants a client's certificate: set tls_cert and tls_key"
# A server that lets one in and closes the connection at once, as it does while credentials expire,
# is no more there than one that does not answer.
_BRIEF = 0.25
_HINT = "start one with `micro server`, or do without with --transport=memory"


class Dialer:
    """Tries servers in turn, configured ones first.

    Attributes:
        current: The server of the newest connection.
    """

    def __init__(self, settings: Settings, client: Callable[[], HardenedClient]) -> None:
        self._settings = settings
        self._client = client
        self._discovered: tuple[ServerAddress, ...] = ()
        self._last: HardenedClient | None = None
        self._connected_at = -_BRIEF
        self._wait = settings.reconnect_wait
        self.current = ""

    @property
    def has_choice(self) -> bool:
        """Whether there is a server besides the current one."""
        return any(server.url != self.current for server in self._pool())

    def discover(self, info: Mapping[str, Any]) -> None:
        """Note the servers that a server knows; not by WebSocket, whose ports these are not."""
        first = self._settings.servers[0]
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

    async def first(self, seconds: float) -> HardenedClient:
        """Connect for the first time.

        Raises:
            Unauthorized: a server refuses the credentials; it was not tried again.
            ConfigError: TLS or a file of credentials is not as it should be.
            ConnectionLost: no server answered within `seconds`; says what was tried.
        """
        failures: dict[str, str] = {}
        try:
            async with asyncio.timeout(seconds) as bound:
                while True:
                    client = await self._round(failures, final=True)
                    if client is not None:
                        return client
                    await asyncio.sleep(random.uniform(0.05, 0.15))
        except TimeoutError:
            if not bound.expired():
                raise
        tried = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
        shown = tried or ", ".join(server.url for server in self._settings.servers)
        raise ConnectionLost(f"no NATS server within {seconds} s ({shown}): {_HINT}")

    async def again(self, failed: Callable[[str], None]) -> HardenedClient:
        """Connect again, however long it takes.

        Args:
            failed: Told why, after each round of all servers that failed.
        """
        await self.discard()
        if time.monotonic() - self._connected_at > _BRIEF:
            self._wait = self._settings.reconnect_wait
        while True:
            # Many clients lose the same server at once: even the first try is spread.
            await asyncio.sleep(random.uniform(0, self._wait))
            # A cut connection is back at the first try. Where that fails the server is away: those
            # who lost it try at different times, or they would flood it as soon as it is back.
            self._wait = min(self._wait * 10, self._settings.reconnect_wait_max)
            failures: dict[str, str] = {}
            client = await self._round(failures, final=False)
            if client is not None:
                return client
            failed("; ".join(f"{url}: {reason}" for url, reason in failures.items()))

    async def discard(self) -> None:
        """Close what is left of the newest connection."""
        client, self._last = self._last, None
        if client is not None:
            await client.shut(at_once=True)

    def _pool(self) -> list[ServerAddress]:
        configured = list(self._settings.servers)
        known = {server.url for server in configured}
        found = [server for server in self._discovered if server.url not in known]
        if not self._settings.connect.get("dont_randomize"):
            random.shuffle(configured)
            random.shuffle(found)
        # The one that was just lost comes last.
        return sorted(configured + found, key=lambda server: server.url == self.current)

    async def _round(self, failures: dict[str, str], *, final: bool) -> HardenedClient | None:
        """Try each server once; with `final`, what another try cannot mend is raised."""
        hopeless: MicroError | None = None
        for server in self._pool():
            client = self._client()
            failures[server.url] = "no answer"
            try:
                await client.open(server.url, await self._arguments(server))
            except Exception as error:
                # Sockets, TLS, HTTP, keys and files: each library has errors of its own.
                if self._uncertified(client, error):
                    error = ConfigError(f"TLS failed: {_CERTIFICATE}")
                failures[server.url] = _reason(error)
                hopeless = hopeless or _hopeless(error, server.url)
                continue
            self._last = client
            self._connected_at = time.monotonic()
            self.current = server.url
            self.discover(client.info)
            return client
        if final and hopeless is not None:
            raise hopeless
        return None

    def _uncertified(self, client: HardenedClient, error: Exception) -> bool:
        """Whether a server closed the connection for want of a client's certificate.

        With TLS 1.3 it says so after the handshake, and what it says may be lost with the
        connection, on which the greeting is under way.
        """
        wanted = client.info.get("tls_required") and client.info.get("tls_verify")
        broken = isinstance(error, ssl.SSLError | ConnectionError)
        told = isinstance(error, ssl.SSLCertVerificationError)  # the other side's certificate
        return bool(wanted) and broken and not told and not self._settings.certified

    async def _arguments(self, server: ServerAddress) -> dict[str, Any]:
        arguments = await self._settings.arguments(server)
        # A cluster names its servers by number; their certificates have names.
        if server in self._discovered and not arguments.get("tls_hostname"):
            arguments["tls_hostname"] = self._settings.servers[0].host
        return arguments


def _reason(error: Exception) -> str:
    if isinstance(error, MicroError):
        return error.detail
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(error).removeprefix("nats: ").strip(" '") or type(error).__name__


def _hopeless(error: Exception, url: str) -> MicroError | None:
    """What to raise for an error that another try in the next seconds would meet again."""
    reason = _reason(error)
    if isinstance(error, ConfigError):
        return error
    if isinstance(error, ssl.SSLError):
        return ConfigError(f"{url}: TLS failed: {reason}")
    if isinstance(error, NatsError) and any(word in reason.lower() for word in _AUTHORIZATION):
        return Unauthorized(f"{url}: the NATS server refuses the credentials: {reason}")
    return None
