"""Where settings come from: arguments in code, flags, the environment and a file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from micro.errors import ConfigError

__all__ = [
    "Found",
    "Layer",
    "plain_name",
    "read_arguments",
    "read_environ",
    "read_file",
    "read_flags",
    "split",
]

_PREFIX = "MICRO_"

# Kubernetes sets such variables for every service of a namespace; one called `micro-nats` would
# otherwise become options of the plugin `nats`.
_KUBERNETES = re.compile(
    r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)"
)


class Found(NamedTuple):
    """One value as its source had it, and where that is, in words."""

    value: object
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """All that one source had, by name, with underscores.

    Attributes:
        kind: What the source calls a setting: `argument`, `flag`, `variable` or `key`.
        values: What was found.
        strict: Whether a name that nobody knows is a mistake. In the environment it is not:
            others may have put it there.
    """

    kind: str
    values: Mapping[str, Found] = field(default_factory=dict)
    strict: bool = True


def read_arguments(arguments: Mapping[str, object]) -> Layer:
    """Read what the program gave in code; `None` is as good as not given."""
    return Layer(
        kind="argument",
        values={
            plain_name(name): Found(value, f"argument {name}")
            for name, value in arguments.items()
            if value is not None
        },
    )


def read_environ(environ: Mapping[str, str]) -> Layer:
    """Read the variables that begin with `MICRO_`; an empty one is as good as not set."""
    found = {}
    for name, value in environ.items():
        rest = name.removeprefix(_PREFIX)
        if rest != name and value and not _KUBERNETES.fullmatch(rest):
            found[rest.lower()] = Found(value, f"variable {name}")
    return Layer(kind="variable", values=found, strict=False)


def read_file(path: str, source: str) -> Layer:
    """Read a TOML file.

    Args:
        path: The file.
        source: Who named it, in words.

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
    return Layer(kind="key", values=values)


def read_flags(
    argv: Sequence[str], *, switches: Collection[str] = (), repeated: Collection[str] = ()
) -> tuple[Layer, list[str]]:
    """Read flags: `--name value`, `--name=value`, `--name`, `--no-name`.

    Args:
        argv: Words, without the program's name.
        switches: Flags that never take the next word.
        repeated: Flags whose values add up to a list.

    Returns:
        The flags, and the words that are not flags. After `--` no word is one.
    """
    found: dict[str, Found] = {}
    flags, words = split(argv, switches)
    for flag in flags:
        spelling, equals, text = flag[0].partition("=")
        name = plain_name(spelling[2:])
        value: object = text if equals else flag[1] if len(flag) > 1 else True
        if value is True and name.startswith("no_"):
            name, value = name[3:], False
        if name in repeated and name in found and isinstance(value, str):
            value = [*_as_list(found[name].value), value]
        found[name] = Found(value, f"flag {spelling}")
    return Layer(kind="flag", values=found), words


def split(argv: Sequence[str], switches: Collection[str]) -> tuple[list[list[str]], list[str]]:
    """Part flags, each with its value if that is a word of its own, from other words."""
    flags: list[list[str]] = []
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return flags, words + rest
        if not word.startswith("--"):
            words.append(word)
        elif _takes_next(word, switches) and rest and not rest[0].startswith("--"):
            flags.append([word, rest.pop(0)])
        else:
            flags.append([word])
    return flags, words


def plain_name(name: str) -> str:
    """A setting's name, however its dashes were written."""
    return name.replace("-", "_")


def _takes_next(word: str, switches: Collection[str]) -> bool:
    name = plain_name(word[2:])
    return "=" not in word and name not in switches and not name.startswith("no_")


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
