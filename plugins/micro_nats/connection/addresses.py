"""Where the servers are: the addresses that people write, read once and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from micro.errors import ConfigError

__all__ = ["DEFAULT_ADDRESS", "ServerAddress", "parse_addresses"]

DEFAULT_ADDRESS = "nats://127.0.0.1:4222"
_ENCODE = "percent-encode special characters of a user name or password"
_PORTS = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}
_PLACE = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d{1,5}/?$)?", re.ASCII)


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
    """Read addresses: `host`, `host:port`, or a URL, several of them separated by commas.

    Raises:
        ConfigError: one cannot be read, or WebSocket and plain addresses are mixed. The text shows
            no part of a user name, password or token, however they are written.
    """
    parts = [part for text in texts for part in _split(text)]
    # What stands before credentials may be the beginning of a password that was cut at a comma.
    last = max((number for number, part in enumerate(parts) if "@" in part), default=-1)
    servers = tuple(_parse(part, secret=number < last) for number, part in enumerate(parts))
    servers = servers or (_parse(DEFAULT_ADDRESS),)
    if len({server.scheme in ("ws", "wss") for server in servers}) > 1:
        shown = ", ".join(server.url for server in servers)
        raise ConfigError(f"address {shown!r}: WebSocket and plain addresses cannot be mixed")
    return servers


def _split(text: str) -> list[str]:
    first, *more = [part.strip() for part in text.split(",")]
    for part in more:
        # Else the end of a password with a comma would be read as an address, and its beginning
        # as a host, which is shown when it cannot be reached.
        if "@" in part and "://" not in part.partition("@")[0]:
            raise ConfigError(
                f"address {_shown(text)!r}: {_ENCODE}, or begin each address with its scheme"
            )
    return [part for part in (first, *more) if part]


def _parse(text: str, *, secret: bool = False) -> ServerAddress:
    """Read one address; with `secret` nothing of it may be shown."""
    shown = "(one of several)" if secret else _shown(text)
    hint = f" ({_ENCODE})" if "@" in text or secret else ""
    try:
        parts = urlsplit(text if "://" in text else f"nats://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"address {shown!r}: not a host, host:port or URL{hint}") from None
    if parts.scheme not in _PORTS:
        known = ", ".join(f"{scheme}://" for scheme in _PORTS)
        raise ConfigError(f"address {shown!r}: the scheme must be one of {known}{hint}")
    if not host or any(char.isspace() for char in text) or not host.isprintable():
        raise ConfigError(f"address {shown!r}: it names no host{hint}")
    rest = parts.path.strip("/") + parts.query + parts.fragment
    if "@" in rest or parts.query or parts.fragment or (rest and "ws" not in parts.scheme):
        raise ConfigError(f"address {shown!r}: nothing may follow the port{hint}")
    place = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    return ServerAddress(
        url=f"{parts.scheme}://{place}:{port or _PORTS[parts.scheme]}{path}",
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password is not None else None,
    )


def _shown(text: str) -> str:
    """The scheme, host and port of an address that cannot be read, cut where it is none of them.

    Without a host, a password stands where the port should be.
    """
    scheme, mark, rest = text.rpartition("@")[2].rpartition("://")
    before, at, _ = text.rpartition("@")
    if at:
        # The scheme comes before the credentials, and only a known one is surely no part of them.
        scheme, mark, _ = before.partition("://")
        scheme, mark = (scheme, mark) if scheme in _PORTS else ("", "")
    found = _PLACE.match(rest)
    place = found.group() if found else ""
    return f"{scheme}{mark}{place}{'' if place == rest else '...'}"
