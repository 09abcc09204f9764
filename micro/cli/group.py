"""The table of commands, and commands that take settings as flags.

A command's module is imported when it is called, so that `micro --help` is quick.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable

import click

from micro.settings.kinds import nearest, read_duration
from micro.settings.load import OPTIONS, Settings, load_settings
from micro.settings.sources import plain_name, split
from micro.telemetry.logs import setup_logging

__all__ = ["CommandTable", "SettingsCommand", "seconds", "setting_flags", "settings_of"]

# Name: module, and what `micro --help` says of it.
_COMMANDS = {
    "run": ("run", "Run services, in one process or many."),
    "call": ("call", "Call an endpoint and print its answer."),
    "stream": ("call", "Open a stream and print each item on a line."),
    "services": ("discover", "List the services that run."),
    "describe": ("discover", "Show a service's versions, nodes and endpoints."),
    "publish": ("events", "Publish an event."),
    "subscribe": ("events", "Print the events of a topic."),
    "server": ("nats", "Run a local nats-server, for development."),
    "health": ("health", "Make a round trip to the servers in use."),
    "version": ("version", "Show versions and installed plugins."),
}
_EXIT_CODES = (
    ("0", "it worked"),
    ("1", "the call failed"),
    ("2", "a flag, setting, name or target cannot be used, or a plugin is missing"),
    ("3", "unavailable: no server, or nobody serves what was asked for"),
    ("4", "the time ran out"),
    ("130", "interrupted with Ctrl-C"),
)
_FLAGS = "micro.flags"


class CommandTable(click.Group):
    """The commands by name, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command.

        Raises:
            UsageError: there is none of that name.
        """
        if cmd_name not in _COMMANDS:
            hint = nearest(cmd_name, _COMMANDS)
            also = f"did you mean {hint!r}?" if hint else f"there are {', '.join(_COMMANDS)}"
            raise click.UsageError(f"there is no command {cmd_name!r}; {also}", ctx)
        module = importlib.import_module(f"micro.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table without importing what is in it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _COMMANDS.items()])
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


class SettingsCommand(click.Command):
    """A command that takes every setting as a flag, beside its own options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the settings' flags out, and leave the rest to click."""
        own = {name for option in self.params for name in option.opts}
        ctx.meta[_FLAGS], rest = _take_flags(args, own)
        return super().parse_args(ctx, rest)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say that settings are flags."""
        super().format_epilog(ctx, formatter)
        formatter.write(
            "\nEvery setting is a flag, too: --transport, --registry-address, --config, ...;"
            "\n'micro run --help' lists them.\n"
        )


def setting_flags(ctx: click.Context) -> list[str]:
    """The settings' flags that the command was given, as they were written."""
    flags: list[str] = ctx.meta[_FLAGS]
    return flags


def settings_of(ctx: click.Context) -> Settings:
    """The settings of a command: its flags, then the environment and so on.

    Log lines of less than a warning are left out, unless `debug` was asked for.

    Raises:
        ConfigError: one of them cannot be used.
    """
    settings = load_settings(setting_flags(ctx), os.environ)
    quiet = "warning" if settings.log_level == "info" else settings.log_level
    setup_logging(quiet, settings.log_format)
    return settings


def seconds(text: str) -> float:
    """Read an option that is a duration.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return read_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"expected {error}, got {text!r}") from None


def _take_flags(args: list[str], own: Iterable[str]) -> tuple[list[str], list[str]]:
    flags: list[str] = []
    rest: list[str] = []
    end = args.index("--") if "--" in args else len(args)
    words = args[:end]
    prefixes = _driver_prefixes(words)
    while words:
        word = words[0]
        taken, _ = split(words[:2], ())
        name = plain_name(word[2:].partition("=")[0])
        if word.startswith("--") and word not in own and _is_setting(name, prefixes):
            flags += taken[0]
            words = words[len(taken[0]) :]
        else:
            rest.append(words.pop(0))
    return flags, rest + args[end:]


def _is_setting(name: str, prefixes: tuple[str, ...]) -> bool:
    known = any(name == option.name for option in OPTIONS)
    return known or name.removeprefix("no_").startswith(prefixes)


def _driver_prefixes(words: list[str]) -> tuple[str, ...]:
    """What flags of drivers begin with: the plugins that are installed, or named right here."""
    from micro.plugins import list_plugins

    named = {text for flag in split(words, ())[0] for text in flag[0].split("=")[1:] + flag[1:]}
    return tuple(f"{plain_name(name)}_" for name in {*list_plugins(), *named} if name)
