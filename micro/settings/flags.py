"""Settings as flags: options of a click command, and drivers' options, which nothing declares.

A setting's flag is an option like any other, hidden from the command's own help. The flags of a
driver, `--nats-user_credentials PATH`, are taken out of the words by hand before click sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from itertools import pairwise

import click

from micro.errors import ConfigError
from micro.settings.hints import nearest
from micro.settings.model import OPTIONS, PARTS
from micro.settings.option import Option
from micro.settings.sources import Found, Source, plain_name

__all__ = ["given_flags", "parse_flags", "read_flags", "setting_options"]

_FLAGS = "micro.flags"
_BY_NAME = {option.name: option for option in OPTIONS}
_NEGATIVE_NUMBER = re.compile(r"-\.?\d.*", re.DOTALL)


def setting_options() -> list[click.Option]:
    """An option for each setting; what it is given is kept for `given_flags`."""
    return [_click_option(option) for option in OPTIONS]


def read_flags(
    argv: Sequence[str], prefixes: Iterable[str] = (), *, lenient: bool = False
) -> Source:
    """Read the flags of a program that takes nothing else.

    Args:
        argv: Words, without the program's name.
        prefixes: What flags of the application's own settings begin with.
        lenient: Take every unknown flag with a dash in it for one of the application.

    Raises:
        ConfigError: a flag is unknown or has no value, or a word is not a flag.
    """
    if not argv:
        return Source(kind="flag")
    command = click.Command("settings", params=[*setting_options()], add_help_option=False)
    context = click.Context(command, allow_extra_args=True, ignore_unknown_options=True)
    command.parse_args(context, parse_flags(context, argv, prefixes, lenient=lenient))
    if context.args:
        # The word may be the second half of an unquoted password, so it is not shown.
        raise ConfigError(
            "only flags are expected, such as --transport nats; quote a value that has spaces"
        )
    return Source(kind="flag", values=context.meta[_FLAGS])


def parse_flags(
    context: click.Context,
    argv: Sequence[str],
    prefixes: Iterable[str] = (),
    *,
    lenient: bool = False,
) -> list[str]:
    """Check the flags among a command's words, and take out those of drivers.

    Args:
        context: The command's; its parameters contain `setting_options()`.
        argv: The command's words.
        prefixes: As for `read_flags`.
        lenient: As for `read_flags`.

    Returns:
        The words that are left for click to parse.

    Raises:
        ConfigError: a flag is unknown, or has no value.
    """
    return _Words(context, argv, prefixes, lenient=lenient).check()


def given_flags(context: click.Context) -> list[str]:
    """The settings' flags that a command was given, as `--name=value`, to be read once more."""
    found: Mapping[str, Found] = context.meta[_FLAGS]
    return [word for name, one in found.items() for word in _written(name, one.value)]


def _written(name: str, value: object) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool):
            yield f"--{'' if one else 'no-'}{name}"
        else:
            yield f"--{name}={one}"


def _click_option(option: Option) -> click.Option:
    def store(context: click.Context, _: click.Parameter, value: object) -> None:
        if value is not None and value != ():
            found = list(value) if isinstance(value, tuple) else value
            context.meta[_FLAGS][option.name] = Found(found, f"flag {option.flag}")

    flag = f"{option.flag}/--no-{option.flag[2:]}" if option.is_switch else option.flag
    return click.Option(
        [flag, f"setting_{option.name}"],
        default=None,
        callback=store,
        expose_value=False,
        hidden=True,
        metavar=option.syntax.placeholder or None,
        multiple=option.repeats,
        type=None if option.is_switch else click.UNPROCESSED,
    )


class _Words:
    """The words of one command line, checked from left to right.

    Args:
        context: The command's.
        argv: The words.
        prefixes: As for `read_flags`.
        lenient: As for `read_flags`.
    """

    def __init__(
        self,
        context: click.Context,
        argv: Sequence[str],
        prefixes: Iterable[str],
        *,
        lenient: bool,
    ) -> None:
        self._lenient = lenient
        installed = {one.name for one in entry_points(group="micro.plugins")}
        self._prefixes = tuple(
            f"{plain_name(name)}_" for name in {*installed, *_named(argv), *prefixes}
        )
        self._found: dict[str, Found] = context.meta.setdefault(_FLAGS, {})
        self._placeholders: dict[str, str] = {}
        for param in context.command.get_params(context):
            for flag in (*param.opts, *param.secondary_opts):
                takes_value = isinstance(param, click.Option) and not param.is_flag
                self._placeholders[flag] = (param.metavar or "VALUE") if takes_value else ""
        end = argv.index("--") if "--" in argv else len(argv)
        self._rest, self._tail = list(argv[:end]), list(argv[end:])

    def check(self) -> list[str]:
        checked: list[str] = []
        while self._rest:
            word = _canonical(self._rest.pop(0))
            if not word.startswith("-") or word == "-" or _NEGATIVE_NUMBER.fullmatch(word):
                checked.append(word)
            elif word.startswith("--"):
                checked += self._long(word)
            elif word[:2] in self._placeholders:
                checked += [word, *self._value_of(word)]
            else:
                raise ConfigError(f"flag {word[:2]}: there is no such flag")
        return checked + self._tail

    def _long(self, word: str) -> list[str]:
        flag, equals, text = word.partition("=")
        if flag in self._placeholders:
            option = _BY_NAME.get(plain_name(flag[2:]))
            if equals and option is not None and option.is_switch:
                self._found[option.name] = Found(text, f"flag {flag}")
                return []
            return [word] if equals else [word, *self._value_of(flag)]
        name = plain_name(flag[2:])
        # Only a plugin that is named by its dotted path has a colon in its flags.
        known = name.removeprefix("no_").startswith(self._prefixes)
        if ":" not in name and not known and not (self._lenient and "_" in name):
            hint = nearest(flag, self._placeholders)
            also = f"did you mean {hint}?" if hint else "'micro run --help' lists the settings"
            raise ConfigError(f"flag {flag}: there is no such flag; {also}")
        self._take_driver(name, flag, text if equals else None)
        return []

    def _take_driver(self, name: str, flag: str, value: str | None) -> None:
        off = value is None and name.startswith("no_")
        if value is None and not off and self._rest and not self._rest[0].startswith("--"):
            value = self._rest.pop(0)
        found = not off if value is None else value
        self._found[name[3:] if off else name] = Found(found, f"flag {flag}")

    def _value_of(self, flag: str) -> list[str]:
        """The next word, if this flag takes it as its value."""
        placeholder = self._placeholders.get(flag, "")
        if not placeholder:
            return []
        if not self._rest or self._rest[0].startswith("--"):
            raise ConfigError(f"flag {flag}: it needs a value, {placeholder}")
        return [self._rest.pop(0)]


def _named(argv: Sequence[str]) -> set[str]:
    """The plugins that flags choose for a part."""
    named = set()
    for word, following in pairwise([*argv, ""]):
        flag, equals, text = word.partition("=")
        if flag[2:] in PARTS and (text or following):
            named.add(text if equals else following)
    return named


def _canonical(word: str) -> str:
    """A setting's flag with dashes; any other word as it is."""
    flag, equals, text = word.partition("=")
    name = plain_name(flag[2:])
    if word.startswith("--") and name.removeprefix("no_") in _BY_NAME:
        return f"--{name.replace('_', '-')}{equals}{text}"
    return word
