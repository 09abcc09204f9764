"""The driver's options: nats-py's own names, checked and converted, and a few for TLS files.

They come from flags, the environment and TOML files, so a number or a truth value may be text.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client, RawCredentials

from micro.backend import BackendOptions
from micro.errors import ConfigError
from micro_nats.connection.addresses import ServerAddress, parse_addresses

__all__ = ["ConnectOptions", "read_options"]

# Arguments of nats-py's `connect` that this plugin sets itself.
_OURS = {
    "self",
    "servers",
    "name",
    "allow_reconnect",
    "max_reconnect_attempts",
    "reconnect_to_server_handler",
    "skip_subject_validation",
    "verbose",
}
_OWN = (
    "envelope",
    "jetstream_api_prefix",
    "jetstream_domain",
    "namespace",
    "reconnect_wait_max",
    "reply_prefixes",
    "services",
)
_TLS_FILES = ("tls_ca", "tls_cert", "tls_key")
_TRUTH = {"true": True, "1": True, "yes": True, "on": True}
_UNTRUTH = {"false": False, "0": False, "no": False, "off": False}
# nats-py pings every 120 s, so a dead server would be noticed after four minutes.
_DEFAULTS: Mapping[str, Any] = {
    "connect_timeout": 3.0,
    "ping_interval": 15.0,
    "max_outstanding_pings": 2,
    "pending_size": 8 << 20,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """How to connect; nothing secret is in its text.

    Attributes:
        servers: The configured servers.
        connect: Arguments for nats-py's `connect`.
        certified: Whether the client has a certificate; assumed for a TLS context made in code.
        inbox_prefix: Prefix of this process's reply subjects.
        reply_prefixes: More prefixes that reply subjects of peers may have.
        bare_events: Whether events are published without go-micro's envelope.
        services: Whether tools that speak the NATS services protocol see and call services.
        reconnect_wait: Seconds before a second try to reconnect; later ones wait longer.
        reconnect_wait_max: The longest wait between two tries, in seconds.
        namespace: A prefix of kept topics and their streams; empty for none.
        api_prefix: What the subjects of JetStream's API begin with.
    """

    servers: tuple[ServerAddress, ...]
    connect: Mapping[str, Any] = field(repr=False)
    certified: bool = False
    inbox_prefix: str = "_INBOX"
    reply_prefixes: tuple[str, ...] = ()
    bare_events: bool = False
    services: bool = True
    reconnect_wait: float = 0.1
    reconnect_wait_max: float = 3.0
    namespace: str = ""
    api_prefix: str = "$JS.API"

    async def arguments(self, server: ServerAddress) -> dict[str, Any]:
        """The arguments for one try at one server.

        Files of credentials are read each time: they may be renewed while the process runs.

        Raises:
            ConfigError: such a file cannot be read, or holds no credentials.
        """
        arguments = dict(self.connect)
        if server.password is not None:
            arguments |= {"user": server.user or "", "password": server.password}
        elif server.user is not None:
            arguments["token"] = server.user
        if isinstance(path := arguments.get("user_credentials"), str | Path):
            text = await asyncio.to_thread(_read_credentials, Path(path))
            arguments["user_credentials"] = RawCredentials(text)
        if (path := arguments.pop("nkeys_seed", None)) is not None:
            arguments["nkeys_seed_str"] = await asyncio.to_thread(_read_seed, Path(path))
        if arguments.get("nkeys_seed_str") or arguments.get("user_credentials"):
            _require_nkeys()
        return arguments


def read_options(options: BackendOptions) -> ConnectOptions:
    """Check a backend's options; reads the files of TLS, connects to nothing.

    Raises:
        ConfigError: an address or option cannot be used; the text names it, never a secret.
    """
    servers = parse_addresses(options.addresses)
    driver = dict(options.driver)
    files = {name: driver.pop(name, None) for name in _TLS_FILES}
    reply_prefixes = _split(driver.pop("reply_prefixes", ""))
    services = _truth("services", driver.pop("services", True))
    envelope = _choice("envelope", driver.pop("envelope", "go-micro"), ("go-micro", "bare"))
    longest = _number("reconnect_wait_max", driver.pop("reconnect_wait_max", 3.0))
    first = _number("reconnect_time_wait", driver.pop("reconnect_time_wait", 0.1))
    namespace = str(driver.pop("namespace", ""))
    api_prefix = _api_prefix(driver)
    connect = dict(_DEFAULTS)
    connect.update((name, _convert(name, value)) for name, value in driver.items())
    connect["name"] = options.name or None
    prefix = connect.pop("inbox_prefix", "_INBOX")
    if any(files.values()):
        connect["tls"] = _tls_context(files)
    _check_together(servers, connect)
    return ConnectOptions(
        servers=servers,
        connect=connect,
        certified=files["tls_cert"] is not None or "tls" in driver,
        inbox_prefix=_check_prefix("inbox_prefix", prefix),
        reply_prefixes=tuple(_check_prefix("reply_prefixes", each) for each in reply_prefixes),
        bare_events=envelope == "bare",
        services=services,
        reconnect_wait=min(first, longest),
        reconnect_wait_max=longest,
        namespace=_check_prefix("namespace", namespace) if namespace else "",
        api_prefix=api_prefix,
    )


def _api_prefix(driver: dict[str, Any]) -> str:
    """Take the two options that say where JetStream's API is; a server knows one of them."""
    domain = str(driver.pop("jetstream_domain", ""))
    prefix = str(driver.pop("jetstream_api_prefix", ""))
    if domain and prefix:
        raise ConfigError("options jetstream_domain and jetstream_api_prefix: give one of them")
    if domain:
        return f"$JS.{_check_prefix('jetstream_domain', domain)}.API"
    return _check_prefix("jetstream_api_prefix", prefix) if prefix else "$JS.API"


def _known() -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(Client.connect).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if (name not in _OURS and not name.endswith("_cb")) or name in _SIGNERS
    }


_SIGNERS = ("signature_cb", "user_jwt_cb")


def _convert(name: str, value: Any) -> Any:
    """Give an option the type of its default in nats-py."""
    known = _known()
    if name not in known:
        names = ", ".join(sorted({*known, *_TLS_FILES, *_OWN}))
        raise ConfigError(f"option {name!r} is not one of: {names}")
    default = known[name].default
    if isinstance(default, bool):
        return _truth(name, value)
    if isinstance(default, int | float) or name == "flush_timeout":
        number = _number(name, value)
        return int(number) if number.is_integer() else number
    if isinstance(value, bytes):
        return value.decode()
    return value


def _truth(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    answer = (_TRUTH | _UNTRUTH).get(str(value).strip().lower())
    if answer is None:
        raise ConfigError(f"option {name}: expected true or false")
    return answer


def _choice(name: str, value: Any, words: tuple[str, ...]) -> str:
    word = str(value).strip().lower()
    if word not in words:
        raise ConfigError(f"option {name}: expected one of {', '.join(words)}")
    return word


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"option {name}: expected a number") from None
    if not 0 < number < float("inf"):
        raise ConfigError(f"option {name}: expected a finite number above 0, got {number}")
    return number


def _split(value: Any) -> list[str]:
    """Read a comma-separated text or a list of texts."""
    parts = value.split(",") if isinstance(value, str) else list(value)
    return [str(part).strip() for part in parts if str(part).strip()]


def _check_prefix(name: str, prefix: Any) -> str:
    text = str(prefix)
    tokens = text.split(".")
    if not text or "" in tokens or any(char in text for char in " \t\r\n*>"):
        raise ConfigError(f"option {name}: expected dot-separated tokens, got {text!r}")
    return text


def _check_together(servers: tuple[ServerAddress, ...], connect: Mapping[str, Any]) -> None:
    if (connect.get("user") is None) != (connect.get("password") is None):
        raise ConfigError("options user and password: give both or neither")
    encrypted = "tls" in connect or connect.get("tls_handshake_first")
    for server in servers:
        if encrypted and server.scheme == "ws":
            raise ConfigError(f"address {server.url!r}: TLS options need wss://")


def _tls_context(files: Mapping[str, Any]) -> ssl.SSLContext:
    if (files["tls_cert"] is None) != (files["tls_key"] is None):
        raise ConfigError("options tls_cert and tls_key: give both or neither")
    name = "tls_ca"
    try:
        context = ssl.create_default_context(cafile=files["tls_ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if files["tls_cert"] is not None:
            name = "tls_cert"
            context.load_cert_chain(files["tls_cert"], files["tls_key"])
    except (OSError, ValueError) as error:
        raise ConfigError(f"option {name}: {files[name]!r} cannot be used: {error}") from None
    return context


def _read_credentials(path: Path) -> str:
    text = _read("user_credentials", path)
    for mark in ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"):
        lines = text.splitlines()
        place = next((number for number, line in enumerate(lines) if mark in line), None)
        if place is None or len(lines) <= place + 1 or not lines[place + 1].strip():
            raise ConfigError(f"option user_credentials: {_shown(path)} has no {mark!r} part")
    return text if text.endswith("\n") else text + "\n"


def _read_seed(path: Path) -> str:
    text = _read("nkeys_seed", path).strip()
    if not text.startswith("SU") or len(text.split()) != 1:
        raise ConfigError(f"option nkeys_seed: {_shown(path)} holds no user's seed")
    return text


def _read(name: str, path: Path) -> str:
    try:
        return path.expanduser().read_text()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"option {name}: {_shown(path)} cannot be read: {reason}") from None


def _shown(path: Path) -> str:
    """A path for an error, unless someone gave the secret itself in place of its file."""
    text = str(path)
    if "\n" in text or "BEGIN" in text or re.fullmatch(r"S[A-Z2-7]{20,}", text):
        return "a secret in place of a file's path"
    return repr(text)


def _require_nkeys() -> None:
    try:
        import nkeys  # noqa: F401
    except ImportError:
        raise ConfigError("NKeys and credentials: pip install 'micro-rpc[nkeys]'") from None
