"""The settings themselves: each declared once, as a field with its kind, default and help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Literal, TypeVar

from micro.errors import ConfigError
from micro.settings.kinds import (
    ADDRESSES,
    PAIRS,
    SERVICE_NAME,
    SWITCH,
    TEXT,
    Kind,
    choice,
    count,
    duration,
    hide_secrets,
    size,
)
from micro.settings.sources import Found

__all__ = ["OPTIONS", "PARTS", "Option", "Part", "Settings"]

Part = Literal["transport", "broker", "registry"]
"""What a plugin can be chosen for."""

PARTS: tuple[Part, ...] = ("transport", "broker", "registry")

_T = TypeVar("_T")
_LOG_LEVELS = choice(
    *("debug", "info", "warning", "error", "critical"),
    also={"trace": "debug", "warn": "warning", "fatal": "critical"},
)


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


def _no_plugins() -> Mapping[str, Mapping[str, object]]:
    return MappingProxyType({})


def _setting(default: _T, kind: Kind, help: str) -> _T:
    """Declare a setting."""
    return field(default=default, hash=False, metadata={"kind": kind, "help": help})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """All settings, checked. Each one's meaning is beside it; durations are in seconds.

    Attributes:
        plugins: For each plugin that is chosen for a part, its driver's options. From flags and
            variables they are text, from a file what TOML makes of them; a flag without a value
            is True.

    Raises:
        ConfigError: a value cannot be used.
    """

    transport: str = _setting("nats", TEXT, "plugin that carries calls")
    transport_address: tuple[str, ...] = _setting((), ADDRESSES, "its servers")
    broker: str = _setting("nats", TEXT, "plugin that carries events")
    broker_address: tuple[str, ...] = _setting((), ADDRESSES, "its servers")
    registry: str = _setting("nats", TEXT, "plugin that finds services")
    registry_address: tuple[str, ...] = _setting((), ADDRESSES, "its servers")
    selector: str = _setting(
        "least_in_flight",
        choice("random", "round_robin", "least_in_flight"),
        "how a caller picks one of several nodes",
    )
    server_name: str = _setting("", SERVICE_NAME, "the service's name")
    server_version: str = _setting("latest", TEXT, "the service's version")
    server_id: str = _setting("", TEXT, "this instance's id; fresh and unique if not given")
    server_address: str = _setting("", TEXT, "where to listen; fresh and unique if not given")
    server_metadata: Mapping[str, str] = field(
        default_factory=_nothing,
        hash=False,
        metadata={"kind": PAIRS, "help": "what others can select nodes by; may be repeated"},
    )
    register_ttl: float = _setting(90.0, duration(), "until a silent node is forgotten")
    register_interval: float = _setting(30.0, duration(), "between announcements of a node")
    client_request_timeout: float = _setting(5.0, duration(), "for a call, retries included")
    client_retries: int = _setting(2, count(0), "further tries of a call that cannot have run")
    client_content_type: str = _setting("application/json", TEXT, "how requests are written")
    compression: str = _setting(
        "off", choice("off", "gzip", "zstd"), "of bodies, to services that can read it"
    )
    compression_threshold: int = _setting(1024, count(1024), "bytes that are worth compressing")
    shutdown_timeout: float = _setting(30.0, duration(zero=True), "for a stop, to finish work")
    connect_timeout: float = _setting(5.0, duration(), "for the first connection to stand")
    max_concurrency: int = _setting(1024, count(1), "calls that a server runs at once")
    max_queue: int = _setting(1024, count(0), "calls that may wait for their turn")
    max_streams: int = _setting(1024, count(1), "streams that a server runs at once")
    max_body: int = _setting(64 << 20, size(1024), "of one body, decompressed")
    memory_budget: int = _setting(
        256 << 20, size(1 << 20), "of all partial, queued and decompressed bodies of the process"
    )
    threads: int = _setting(32, count(1), "plain def handlers that run at once")
    server_timeout: float = _setting(60.0, duration(), "for a handler whose caller set no limit")
    subscriber_max_concurrency: int = _setting(
        256, count(1), "events that each subscriber handles at once"
    )
    subscriber_max_queue: int = _setting(
        65_536, count(0), "events that may wait, for each subscriber"
    )
    subscriber_timeout: float = _setting(
        60.0, duration(zero=True), "for the handling of one event; 0 for no limit"
    )
    start_timeout: float = _setting(60.0, duration(), "for a start, hooks included")
    health_address: str = _setting("", TEXT, "host:port for /livez and /readyz; none if not given")
    stall_threshold: float = _setting(
        0.25, duration(zero=True), "of a blocked event loop, to log where it stands; 0 for never"
    )
    log_level: str = _setting("info", _LOG_LEVELS, "least important log lines to write")
    log_format: str = _setting("text", choice("text", "json"), "how log lines look")
    access_log: bool = _setting(False, SWITCH, "write a log line for each call that is served")
    config: str = _setting("", TEXT, "TOML file to read settings from")
    plugins: Mapping[str, Mapping[str, object]] = field(default_factory=_no_plugins, hash=False)

    def __post_init__(self) -> None:
        for option in OPTIONS:
            value = option.read(Found(getattr(self, option.name), f"argument {option.name}"))
            object.__setattr__(self, option.name, value)
        if self.register_interval >= self.register_ttl:
            raise ConfigError(
                f"register_interval ({self.register_interval:g}s) must be less than"
                f" register_ttl ({self.register_ttl:g}s), or nodes are forgotten in between"
            )

    def __repr__(self) -> str:
        shown = [
            f"{option.name}={_shown(value)}"
            for option in OPTIONS
            if (value := getattr(self, option.name)) != option.default
        ]
        # A driver's options may be passwords under any name: only their names are shown.
        shown += [f"plugins.{name}=({', '.join(sorted(table))})" for name, table in self._tables()]
        return f"Settings({', '.join(shown)})"

    def _tables(self) -> list[tuple[str, Mapping[str, object]]]:
        return sorted((name, table) for name, table in self.plugins.items() if table)

    def plugin(self, part: Part) -> str:
        """The name of the plugin chosen for a part."""
        return {"transport": self.transport, "broker": self.broker, "registry": self.registry}[part]

    def addresses(self, part: Part) -> tuple[str, ...]:
        """A part's addresses; if it has none, those of the other parts with the same plugin.

        Empty when none of them has any: the plugin's default is meant, by all of them alike.

        Raises:
            ConfigError: the other parts' addresses differ, so that none is the obvious one.
        """
        given = {
            "transport": self.transport_address,
            "broker": self.broker_address,
            "registry": self.registry_address,
        }
        plugin = self.plugin(part)
        peers = [other for other in PARTS if self.plugin(other) == plugin and given[other]]
        if given[part] or not peers:
            return given[part]
        if len({given[other] for other in peers}) > 1:
            names = " and ".join(f"{other}_address" for other in peers)
            raise ConfigError(f"{part}_address is not given, and {names} differ: say which it is")
        return given[peers[0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting's declaration, from which its flag, variable, file key and help derive."""

    name: str
    default: object
    kind: Kind
    help: str

    def read(self, found: Found) -> object:
        """Read what a source had.

        Raises:
            ConfigError: it cannot be used; the text says where it came from.
        """
        # A flag without its value was read as True, one with `no-` as False.
        if found.value is True and not self.kind.switch and found.source.startswith("flag"):
            raise ConfigError(f"{found.source}: it needs a value, {self.kind.placeholder}")
        try:
            return self.kind.read(found.value)
        except ValueError as error:
            value = hide_secrets(repr(found.value))
            raise ConfigError(f"{found.source}: expected {error}, got {value}") from None


OPTIONS: tuple[Option, ...] = tuple(
    Option(
        name=f.name,
        default=f.default if f.default_factory is MISSING else f.default_factory(),
        kind=f.metadata["kind"],
        help=f.metadata["help"],
    )
    for f in fields(Settings)
    if "kind" in f.metadata
)
"""Every setting, in the order of the help."""


def _shown(value: object) -> str:
    texts = [hide_secrets(str(item)) for item in value] if isinstance(value, tuple) else value
    return repr(dict(texts) if isinstance(texts, Mapping) else texts)
