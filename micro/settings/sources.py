"""Where settings come from: arguments in code, the environment and a file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from micro.errors import ConfigError

__all__ = ["Found", "Source", "plain_name", "read_arguments", "read_environ", "read_file"]

_PREFIX = "MICRO_"

# Kubernetes and Docker set such variables for every service of a namespace; those of one called
# `micro-nats` would otherwise become options of the plugin `nats`.
_INJECTED_NAME = re.compile(
    r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_.+)?)"
)
_INJECTED_PORT = re.compile(r"(tcp|udp|sctp)://.*")


class Found(NamedTuple):
    """One value as its source had it, and the source's name, such as `variable MICRO_X`."""

    value: object
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All values of one source, by name, with underscores.

    Attributes:
        kind: What the source calls a setting: `argument`, `flag`, `variable` or `key`.
        values: What was found.
        strict: Whether an unknown name is a mistake. In the environment it is not: a platform may
            have set it.
    """

    kind: str
    values: Mapping[str, Found] = field(default_factory=dict)
    strict: bool = True


def read_arguments(arguments: Mapping[str, object]) -> Source:
    """Read what the program gave in code; `None` means not given."""
    return Source(
        kind="argument",
        values={
            plain_name(name): Found(value, f"argument {name}")
            for name, value in arguments.items()
            if value is not None
        },
    )


def read_environ(environ: Mapping[str, str]) -> Source:
    """Read the variables that begin with `MICRO_`; an empty one counts as not set."""
    found = {}
    for name, value in environ.items():
        rest = name.removeprefix(_PREFIX)
        if rest != name and value and not _is_injected(rest, value):
            found[rest.lower()] = Found(value, f"variable {name}")
    return Source(kind="variable", values=found, strict=False)


def read_file(path: str, source: str) -> Source:
    """Read a TOML file.

    Args:
        path: The file.
        source: The source that named it.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{source}: cannot read {path!r}: {reason}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: {path!r} is not valid TOML: {error}") from error
    values = {plain_name(key): Found(value, f"{path}: {key}") for key, value in table.items()}
    return Source(kind="key", values=values)


def plain_name(name: str) -> str:
    """A setting's name, however its dashes were written."""
    return name.replace("-", "_")


def _is_injected(name: str, value: str) -> bool:
    """Whether a container platform set this variable to tell where some service is."""
    port = name == "PORT" or name.endswith("_PORT")
    return bool(_INJECTED_NAME.fullmatch(name) or (port and _INJECTED_PORT.fullmatch(value)))
