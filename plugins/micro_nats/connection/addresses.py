"""Where the servers are: what people write, read once and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from micro.errors import ConfigError

__all__ = ["DEFAULT_ADDRESS", "ServerAddress", "parse_addresses"]

DEFAULT_ADDRESS = "nats://127.0.0.1:4222"
_PORTS = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """One server.

    Attributes:
        url: Scheme, host and port; no credentials, so it may be shown.
        user: The user's name, or the token when there is no password.
        password: The password, or `None`.
    """

    url: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """The host's name or number."""
        return urlsplit(self.url).hostname or ""

    @property
    def scheme(self) -> str:
        """One of nats, tls, ws and wss."""
        return self.url.partition(":")[0]


def parse_addresses(texts: Iterable[str]) -> tuple[ServerAddress, ...]:
    """Read addresses: `host`, `host:port`, or a URL, several of them parted by commas.

    Raises:
        ConfigError: one cannot be read, or WebSocket and plain addresses are mixed.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    servers = tuple(_parse(part) for part in parts if part) or (_parse(DEFAULT_ADDRESS),)
    if len({server.scheme in ("ws", "wss") for server in servers}) > 1:
        shown = ", ".join(server.url for server in servers)
        raise ConfigError(f"address {shown!r}: WebSocket and plain addresses cannot be mixed")
    return servers


def _parse(text: str) -> ServerAddress:
    shown = _without_credentials(text)
    try:
        parts = urlsplit(text if "://" in text else f"nats://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"address {shown!r}: not a host, host:port or URL") from None
    if parts.scheme not in _PORTS:
        known = ", ".join(f"{scheme}://" for scheme in _PORTS)
        raise ConfigError(f"address {shown!r}: the scheme must be one of {known}")
    if not host or any(char.isspace() for char in text) or not host.isprintable():
        raise ConfigError(f"address {shown!r}: it names no host")
    if parts.query or parts.fragment or (parts.path.strip("/") and "ws" not in parts.scheme):
        raise ConfigError(f"address {shown!r}: nothing may follow the port")
    place = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    return ServerAddress(
        url=f"{parts.scheme}://{place}:{port or _PORTS[parts.scheme]}{path}",
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password is not None else None,
    )


def _without_credentials(text: str) -> str:
    return re.sub(r"(?s)^([A-Za-z]*://)?.*@", r"\1", text)
