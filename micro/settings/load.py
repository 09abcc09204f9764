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
from itertools import pairwise
from types import MappingProxyType

from micro.errors import ConfigError
from micro.settings.flags import read_flags
from micro.settings.hints import nearest
from micro.settings.model import OPTIONS, PARTS, Part, Settings
from micro.settings.option import Option
from micro.settings.own import OwnModel, check_prefixes
from micro.settings.sources import (
    Found,
    Source,
    plain_name,
    read_arguments,
    read_environ,
    read_file,
)

__all__ = [
    "OPTIONS",
    "PARTS",
    "Option",
    "Part",
    "Settings",
    "find_log_format",
    "load_settings",
    "settings_help",
    "variable_hints",
]

_NOTHING: Mapping[str, object] = MappingProxyType({})
_BY_NAME = {option.name: option for option in OPTIONS}
# A variable may be another program's, so only a close match is worth a hint.
_VARIABLE_CUTOFF = 0.8


def load_settings(
    argv: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    *,
    overrides: Mapping[str, object] = _NOTHING,
    own: Sequence[OwnModel] = (),
    lenient: bool = False,
) -> Settings:
    """Collect the settings.

    Args:
        argv: Flags, without the program's name.
        environ: Variables; only `MICRO_*` are read.
        overrides: What the program gave in code, by name; the strongest source. A plugin's options
            are a mapping under the plugin's name. `None` means not given.
        own: The application's own settings.
        lenient: Leave out flags and tables that may be the application's own settings.

    Raises:
        ConfigError: a flag, key or argument is unknown, or a value cannot be used.
    """
    prefixes = [one.prefix for one in own]
    sources = _sources(argv, environ, overrides, prefixes, lenient=lenient)
    values: dict[str, object] = {
        option.name: option.read(found)
        for option in OPTIONS
        if (found := _first(sources, option.name)) is not None
    }
    chosen = {part: str(values.get(part) or _BY_NAME[part].default) for part in PARTS}
    tables = {name: _driver_options(sources, name) for name in chosen.values()}
    check_prefixes(own, _plugin_names(tables))
    _refuse_unknown(sources, (*tables, *prefixes), lenient=lenient)
    values["own"] = MappingProxyType({one.prefix: one.find(sources) for one in own})
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
    return Settings(**values)  # type: ignore[arg-type]  # each was read by its own field's type


def find_log_format(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """How log lines look, even if other settings cannot be used: for the line that says so."""
    names = ("log_format", "config")
    words = [
        f"{flag}={text if equals else following}"
        for word, following in pairwise([*argv, ""])
        for flag, equals, text in [word.partition("=")]
        if plain_name(flag[2:]) in names
    ]
    option = _BY_NAME["log_format"]
    for given in (words, [word for word in words if "format" in word]):
        try:
            found = _first(_sources(given, environ, {}), option.name)
            return str(option.default if found is None else option.read(found))
        except ConfigError:
            continue
    return str(option.default)


def _sources(
    argv: Sequence[str],
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    prefixes: Sequence[str] = (),
    *,
    lenient: bool = False,
) -> list[Source]:
    """Every source, the strongest first."""
    flags = read_flags(argv, prefixes, lenient=lenient)
    sources = [read_arguments(overrides), flags, read_environ(environ)]
    if (found := _first(sources, "config")) is not None:
        sources.append(read_file(str(_BY_NAME["config"].read(found)), found.source))
        if (inner := sources[-1].values.get("config")) is not None:
            raise ConfigError(f"{inner.source}: a file cannot name another")
    return sources


def _first(sources: Iterable[Source], name: str) -> Found | None:
    return next((source.values[name] for source in sources if name in source.values), None)


def _driver_options(sources: Sequence[Source], plugin: str) -> dict[str, Found]:
    """A plugin's options, by table or prefix, the weakest source first."""
    found: dict[str, Found] = {}
    prefix = plain_name(plugin) + "_"
    for source in reversed(sources):
        table = source.values.get(plain_name(plugin))
        if table is not None and isinstance(table.value, Mapping):
            for key, value in table.value.items():
                found[plain_name(key)] = Found(value, f"{table.source}.{key}")
        for name, value in source.values.items():
            if name.startswith(prefix) and name not in _BY_NAME:
                found[name.removeprefix(prefix)] = value
    return found


def _plugin_names(chosen: Iterable[str]) -> set[str]:
    return {*chosen, *(entry.name for entry in entry_points(group="micro.plugins"))}


def _refuse_unknown(sources: Iterable[Source], chosen: tuple[str, ...], *, lenient: bool) -> None:
    plugins = {plain_name(name) for name in chosen}
    # A table of a plugin that is installed may wait in the file until the plugin is chosen.
    installed = {plain_name(name) for name in _plugin_names(())}
    for source in sources:
        for name, found in source.values.items():
            if not source.strict or name in _BY_NAME:
                continue
            is_table = isinstance(found.value, Mapping)
            if lenient and (is_table or source.kind == "flag"):
                continue
            table = is_table and name in plugins | installed
            if not table and not any(name.startswith(f"{plugin}_") for plugin in plugins):
                raise ConfigError(_unknown(source.kind, name, found.source, plugins))


def _unknown(kind: str, name: str, source: str, prefixes: Iterable[str]) -> str:
    hint = nearest(name, (*_BY_NAME, *prefixes))
    dashes = "--" if kind == "flag" else ""
    also = f"did you mean {dashes}{hint}?" if hint else "'micro run --help' lists the settings"
    return f"{source}: there is no such {kind}; {also}"


def variable_hints(environ: Mapping[str, str]) -> list[str]:
    """A line for each `MICRO_*` variable that is no setting but looks like a misspelt one.

    They are not errors, since a platform may have set them.
    """
    installed = tuple(f"{plain_name(one.name)}_" for one in entry_points(group="micro.plugins"))
    hints = []
    for name, found in read_environ(environ).values.items():
        if name not in _BY_NAME and not name.startswith(installed):
            hint = nearest(name, _BY_NAME, cutoff=_VARIABLE_CUTOFF)
            text = f"{found.source} is not a setting; did you mean MICRO_{hint.upper()}?"
            hints += [text] if hint else []
    return hints


def settings_help(own: Iterable[OwnModel] = ()) -> str:
    """All settings as lines of text, for a program's `--help`.

    Args:
        own: The application's own settings, which come first.
    """
    lines = [line for model in own for line in model.help()]
    for option in OPTIONS:
        lines.append(f"  {option.flag} {option.syntax.placeholder}".rstrip())
        default = f" (default {option.default_text})" if option.default_text else ""
        lines.append(f"      {option.help}{default}")
    lines += [
        "  --PLUGIN-OPTION VALUE",
        "      a driver's own option, for instance --nats-user_credentials PATH",
        "",
        "Dashes or underscores; --x-y is MICRO_X_Y in the environment and x_y in the file that",
        "--config names (TOML). The first of flag, variable, file and default counts.",
        "Other users of the machine can read flags: give passwords in variables or files.",
    ]
    return "\n".join(lines)
