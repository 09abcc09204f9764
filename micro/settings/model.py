"""The settings themselves: each declared once, as a field with its type, default and help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar, get_type_hints

from pydantic import ConfigDict, SkipValidation, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from micro.errors import ConfigError
from micro.settings.hints import hide_secrets
from micro.settings.kinds import (
    Addresses,
    Count,
    CountOrZero,
    Duration,
    DurationOrZero,
    LogLevel,
    Pairs,
    ServiceName,
    Size,
    Switch,
    Text,
    Word,
)
from micro.settings.option import Option
from micro.settings.sources import Found

__all__ = ["OPTIONS", "PARTS", "Option", "Part", "Settings"]

Part = Literal["transport", "broker", "registry"]
"""What a plugin can be chosen for."""

PARTS: tuple[Part, ...] = ("transport", "broker", "registry")

_T = TypeVar("_T")
_Tables = Annotated[Mapping[str, Mapping[str, Any]], SkipValidation]
_Found = Annotated[Mapping[str, Mapping[str, Found]], SkipValidation]


def _setting(default: _T, help: str) -> _T:
    """Declare a setting."""
    return field(default=default, metadata={"help": help})


@dataclass(
    frozen=True,
    slots=True,
    kw_only=True,
    repr=False,
    config=ConfigDict(extra="forbid", hide_input_in_errors=True),
)
class Settings:
    """All settings, checked. Each one's meaning is beside it; durations are in seconds.

    Attributes:
        plugins: For each plugin that is chosen for a part, its driver's options. From flags and
            variables they are text, from a file what TOML makes of them; a flag without a value
            is True.
        own: For each prefix of the application's own settings, what its sources had.

    Raises:
        ConfigError: a value cannot be used.
    """

    transport: Text = _setting("nats", "plugin that carries calls")
    transport_address: Addresses = _setting((), "its servers")
    broker: Text = _setting("nats", "plugin that carries events")
    broker_address: Addresses = _setting((), "its servers")
    registry: Text = _setting("nats", "plugin that finds services")
    registry_address: Addresses = _setting((), "its servers")
    selector: Annotated[Literal["random", "round_robin", "least_in_flight"], Word] = _setting(
        "least_in_flight", "how a caller picks one of several nodes"
    )
    server_name: ServiceName = _setting("", "the service's name")
    server_version: Text = _setting("latest", "the service's version")
    server_id: Text = _setting("", "this instance's id; fresh and unique if not given")
    server_address: Text = _setting("", "where to listen; fresh and unique if not given")
    server_metadata: Pairs = field(
        default_factory=lambda: MappingProxyType({}),
        hash=False,
        metadata={"help": "what others can select nodes by; may be repeated"},
    )
    register_ttl: Duration = _setting(90.0, "until a silent node is forgotten")
    register_interval: Duration = _setting(30.0, "between announcements of a node")
    client_request_timeout: Duration = _setting(5.0, "for a call, retries included")
    client_retries: CountOrZero = _setting(2, "further tries of a call that cannot have run")
    client_content_type: Text = _setting("application/json", "how requests are written")
    compression: Annotated[Literal["off", "gzip", "zstd"], Word] = _setting(
        "off", "of bodies, to services that can read it"
    )
    compression_threshold: Size = _setting(1024, "smallest body that is compressed")
    start_timeout: Duration = _setting(60.0, "for a start, hooks included")
    shutdown_timeout: DurationOrZero = _setting(30.0, "for a stop, to finish work")
    connect_timeout: Duration = _setting(5.0, "for the first connection to be made")
    max_concurrency: Count = _setting(1024, "calls that a server runs at once")
    max_queue: CountOrZero = _setting(1024, "calls that may wait for their turn")
    max_streams: Count = _setting(1024, "streams that a server runs at once")
    max_body: Size = _setting(64 << 20, "largest body, decompressed")
    memory_budget: Size = _setting(
        256 << 20, "for all partial, queued and decompressed bodies of the process"
    )
    threads: Count = _setting(32, "plain def handlers that run at once")
    server_timeout: Duration = _setting(60.0, "for a handler whose caller set no limit")
    subscriber_max_concurrency: Count = _setting(256, "events that each subscriber handles at once")
    subscriber_max_queue: CountOrZero = _setting(
        65_536, "events that may wait, for each subscriber"
    )
    subscriber_timeout: DurationOrZero = _setting(
        60.0, "for the handling of one event; 0 for no limit"
    )
    on_drift: Annotated[Literal["ignore", "warn", "fail"], Word] = _setting(
        "warn", "when a topic is kept in another way than the code says"
    )
    allow_unbounded: Switch = _setting(False, "accept kept topics without a limit of bytes")
    health_address: Text = _setting("", "host:port for /livez and /readyz; none if not given")
    metrics_address: Text = _setting("", "host:port for /metrics (Prometheus); none if not given")
    stall_threshold: DurationOrZero = _setting(
        0.25, "of a blocked event loop, to log where it is blocked; 0 to turn off"
    )
    log_level: LogLevel = _setting("info", "least important log lines to write")
    log_format: Annotated[Literal["text", "json"], Word] = _setting("text", "how log lines look")
    access_log: Switch = _setting(False, "write a log line for each call that is served")
    config: Text = _setting("", "TOML file to read settings from")
    plugins: _Tables = field(default_factory=lambda: MappingProxyType({}), hash=False)
    own: _Found = field(default_factory=lambda: MappingProxyType({}), hash=False, compare=False)

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, given: object, validate: Callable[[object], Self]) -> Self:
        try:
            settings = validate(given)
        except ValidationError as error:
            raise _config_error(error) from None
        if settings.register_interval >= settings.register_ttl:
            raise ConfigError(
                f"register_interval ({settings.register_interval:g}s) must be less than"
                f" register_ttl ({settings.register_ttl:g}s), or nodes are forgotten in between"
            )
        return settings

    def __repr__(self) -> str:
        shown = [
            f"{option.name}={_shown(value)}"
            for option in OPTIONS
            if (value := getattr(self, option.name)) != option.default
        ]
        # A driver's options may be passwords under any name: only their names are shown.
        tables = sorted((name, table) for name, table in self.plugins.items() if table)
        shown += [f"plugins.{name}=({', '.join(sorted(table))})" for name, table in tables]
        return f"Settings({', '.join(shown)})"

    def plugin(self, part: Part) -> str:
        """The name of the plugin chosen for a part."""
        return {"transport": self.transport, "broker": self.broker, "registry": self.registry}[part]

    def addresses(self, part: Part) -> tuple[str, ...]:
        """A part's addresses; if it has none, those of the other parts with the same plugin.

        Empty when none of them has any: all of them then use the plugin's default.

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


def _declared() -> tuple[Option, ...]:
    types = get_type_hints(Settings, include_extras=True)
    return tuple(
        Option(
            f.name,
            f.default if f.default_factory is MISSING else f.default_factory(),
            f.metadata["help"],
            types[f.name],
        )
        for f in fields(Settings)
        if "help" in f.metadata
    )


OPTIONS: tuple[Option, ...] = _declared()
"""Every setting, in the order of the help."""


def _config_error(error: ValidationError) -> ConfigError:
    """The error for the first value that the class was given and cannot use."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    option = next((one for one in OPTIONS if one.name == name), None)
    if option is None:
        return ConfigError(f"argument {name}: there is no such setting")
    return option.refusal(Found(first["input"], f"argument {name}"))


def _shown(value: object) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else hide_secrets(value)
