"""Settings: declared once, given by argument, flag, `MICRO_*` variable, TOML file or default.

The first of these that has a setting wins. Names are go-micro's, with dashes or underscores:
`--client_retries 3`, `--client-retries=3`, `MICRO_CLIENT_RETRIES=3` and `client_retries = 3` in the
file that `--config` names are one. A plugin's options go by the plugin's name and the driver's own
name for them: `--nats-user_credentials PATH`, `MICRO_NATS_USER_CREDENTIALS=PATH`, or
`user_credentials = "PATH"` in the table `[nats]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from types import MappingProxyType

from micro.errors import ConfigError
from micro.settings.kinds import nearest, shown_size
from micro.settings.model import OPTIONS, PARTS, Option, Part, Settings
from micro.settings.sources import (
    Found,
    Layer,
    plain_name,
    read_arguments,
    read_environ,
    read_file,
    read_flags,
)

__all__ = ["OPTIONS", "PARTS", "Option", "Part", "Settings", "load_settings", "settings_help"]

_NOTHING: Mapping[str, object] = MappingProxyType({})
_BY_NAME = {option.name: option for option in OPTIONS}


def load_settings(
    argv: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    *,
    overrides: Mapping[str, object] = _NOTHING,
) -> Settings:
    """Collect the settings.

    Args:
        argv: Flags, without the program's name.
        environ: Variables; others than `MICRO_*` are not looked at.
        overrides: What the program gave in code, by name; the strongest source. A plugin's options
            are a mapping under the plugin's name. `None` is as good as not given.

    Raises:
        ConfigError: a flag, key or argument is unknown, or a value cannot be used.
    """
    layers = _layers(argv, environ, overrides)
    values: dict[str, object] = {
        option.name: option.read(found)
        for option in OPTIONS
        if (found := _first(layers, option.name)) is not None
    }
    chosen = {part: str(values.get(part) or _BY_NAME[part].default) for part in PARTS}
    tables = {name: _driver_options(layers, name) for name in chosen.values()}
    _refuse_unknown(layers, tuple(tables))
    for part, name in chosen.items():
        values[part] = name
        address = tables[name].get("address")
        if address is not None and not values.get(f"{part}_address"):
            values[f"{part}_address"] = _BY_NAME[f"{part}_address"].read(address)
    values["plugins"] = MappingProxyType(
        {
            name: MappingProxyType({k: v.value for k, v in table.items() if k != "address"})
            for name, table in tables.items()
        }
    )
    return Settings(**values)  # type: ignore[arg-type]  # each was read by its own field's kind


def _layers(
    argv: Sequence[str], environ: Mapping[str, str], overrides: Mapping[str, object]
) -> list[Layer]:
    """Every source, the strongest first."""
    switches = {option.name for option in OPTIONS if option.kind.switch}
    repeated = {option.name for option in OPTIONS if option.kind.repeats}
    flags, words = read_flags(argv, switches=switches, repeated=repeated)
    if words:
        raise ConfigError(f"argument {words[0]!r}: only flags are expected, such as --transport")
    layers = [read_arguments(overrides), flags, read_environ(environ)]
    if (found := _first(layers, "config")) is not None:
        layers.append(read_file(str(_BY_NAME["config"].read(found)), found.source))
        if (inner := layers[-1].values.get("config")) is not None:
            raise ConfigError(f"{inner.source}: a file cannot name another")
    return layers


def _first(layers: Iterable[Layer], name: str) -> Found | None:
    return next((layer.values[name] for layer in layers if name in layer.values), None)


def _driver_options(layers: Sequence[Layer], plugin: str) -> dict[str, Found]:
    """A plugin's options, by table or prefix, the weakest source first."""
    found: dict[str, Found] = {}
    prefix = plain_name(plugin) + "_"
    for layer in reversed(layers):
        table = layer.values.get(plain_name(plugin))
        if table is not None and isinstance(table.value, Mapping):
            for key, value in table.value.items():
                found[plain_name(key)] = Found(value, f"{table.source}.{key}")
        for name, value in layer.values.items():
            if name.startswith(prefix) and name not in _BY_NAME:
                found[name.removeprefix(prefix)] = value
    return found


def _refuse_unknown(layers: Iterable[Layer], chosen: tuple[str, ...]) -> None:
    plugins = {plain_name(name) for name in chosen}
    # A table of a plugin that is installed may wait in the file until the plugin is chosen.
    installed = {plain_name(entry.name) for entry in entry_points(group="micro.plugins")}
    for layer in layers:
        for name, found in layer.values.items():
            if not layer.strict or name in _BY_NAME:
                continue
            table = isinstance(found.value, Mapping) and name in plugins | installed
            if not table and not any(name.startswith(f"{plugin}_") for plugin in plugins):
                raise ConfigError(_unknown(layer.kind, name, found.source))


def _unknown(kind: str, name: str, source: str) -> str:
    hint = nearest(name.removeprefix("no_"), _BY_NAME)
    dashes = "--" if kind == "flag" else ""
    if hint:
        return f"{source}: there is no such {kind}; did you mean {dashes}{hint}?"
    return f"{source}: there is no such {kind}; there are {', '.join(_BY_NAME)}"


def settings_help() -> str:
    """All settings as lines of text, for a program's `--help`."""
    lines = []
    for option in OPTIONS:
        lines.append(f"  --{option.name.replace('_', '-')} {option.kind.placeholder}".rstrip())
        default = _shown_default(option)
        lines.append(f"      {option.help}" + (f" (default {default})" if default else ""))
    lines += [
        "  --PLUGIN-OPTION VALUE",
        "      a driver's own option, for instance --nats-user_credentials PATH",
        "",
        "Dashes or underscores; --x-y is MICRO_X_Y in the environment and x_y in the file that",
        "--config names (TOML). The first of flag, variable, file and default counts.",
    ]
    return "\n".join(lines)


def _shown_default(option: Option) -> str:
    if isinstance(option.default, float):
        return f"{option.default:g}s"
    if option.kind.placeholder == "SIZE" and isinstance(option.default, int):
        return shown_size(option.default)
    return "" if option.default in ("", (), {}, False) else str(option.default)
