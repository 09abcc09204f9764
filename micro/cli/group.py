"""The table of commands, and commands that take settings as flags.

A command's module is imported when it is called, so that `micro --help` is quick.
"""

from __future__ import annotations

import importlib
import logging
import os
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from micro.errors import PluginError
from micro.settings.flags import given_flags, parse_flags, setting_options
from micro.settings.hints import nearest
from micro.settings.kinds import read_duration
from micro.settings.load import Settings, load_settings, variable_hints
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
    "topics": ("topics", "Compare, create and change kept topics."),
    "events": ("stored", "Show the events that a kept topic holds."),
    "durable": ("durables", "Show, pause and move the positions of a kept topic."),
    "dead": ("dead", "List, replay and remove dead letters."),
    "server": ("nats", "Run a local nats-server, for development."),
    "health": ("health", "Make a round trip to the servers in use."),
    "version": ("version", "Show versions and installed plugins."),
}
COMMANDS_GROUP = "micro.commands"
"""The entry-point group in which packages add commands."""

_EXIT_CODES = (
    ("0", "it worked"),
    ("1", "the call failed"),
    ("2", "a flag, setting, name or target cannot be used, or a plugin is missing"),
    ("3", "unavailable: no server, or no node serves what was asked for"),
    ("4", "the time ran out"),
    ("130", "interrupted with Ctrl-C"),
)
_log = logging.getLogger("micro.cli")


class CommandTable(click.Group):
    """The commands by name, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the help; those of other packages come last."""
        return [*_COMMANDS, *sorted(_added())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command.

        Raises:
            UsageError: there is none of that name.
            PluginError: the package that adds it cannot be imported.
        """
        if cmd_name in _COMMANDS:
            module = importlib.import_module(f"micro.cli.{_COMMANDS[cmd_name][0]}")
            command: click.Command = getattr(module, cmd_name)
            return command
        if (entry := _added().get(cmd_name)) is not None:
            return _load(entry)
        known = self.list_commands(ctx)
        hint = nearest(cmd_name, known)
        also = f"did you mean {hint!r}?" if hint else f"there are {', '.join(known)}"
        raise click.UsageError(f"there is no command {cmd_name!r}; {also}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table without importing what is in it."""
        rows = [(name, about) for name, (_, about) in _COMMANDS.items()]
        rows += [(name, f"Added by {_package(entry)}.") for name, entry in sorted(_added().items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


def _added() -> dict[str, EntryPoint]:
    """The commands of other packages; ours cannot be replaced."""
    found = {entry.name: entry for entry in entry_points(group=COMMANDS_GROUP)}
    return {name: entry for name, entry in found.items() if name not in _COMMANDS}


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except (ImportError, AttributeError) as error:
        raise PluginError(f"command {entry.name!r} of {_package(entry)}: {error}") from error
    if not isinstance(command, click.Command):
        raise PluginError(f"command {entry.name!r} of {_package(entry)} is not a click command")
    return command


class SettingsCommand(click.Command):
    """A command that takes every setting as a flag, beside its own options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Unknown flags are refused by `parse_flags`, which lets a negative number be an argument.
        super().__init__(*args, **kwargs)
        self.ignore_unknown_options = self.allow_extra_args = True
        self.params.extend(setting_options())

    takes_own_settings = False
    """Whether unknown flags may be settings of the application, to be checked later."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Check the flags, and take those of drivers out before click parses the rest.

        Raises:
            UsageError: there are more words than arguments.
        """
        super().parse_args(ctx, parse_flags(ctx, args, lenient=self.takes_own_settings))
        if ctx.args:
            # The word may be the second half of an unquoted password, so it is not shown.
            count = len(ctx.args)
            raise click.UsageError(f"{count} argument(s) too many; quote values with spaces", ctx)
        return []

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say that settings are flags."""
        super().format_epilog(ctx, formatter)
        formatter.write(
            "\nEvery setting is a flag, too: --transport, --registry-address, --config, ...;"
            "\n'micro run --help' lists them.\n"
        )


def setting_flags(ctx: click.Context) -> list[str]:
    """The settings' flags that the command was given, as `--name=value`."""
    return given_flags(ctx)


def settings_of(ctx: click.Context) -> Settings:
    """The settings of a command: its flags, then the environment and so on.

    Log lines of less than a warning are left out, unless `debug` was asked for.

    Raises:
        ConfigError: one of them cannot be used.
    """
    # A file may have tables of applications, which only the process that runs them can check.
    settings = load_settings(setting_flags(ctx), os.environ, lenient=True)
    quiet = "warning" if settings.log_level == "info" else settings.log_level
    setup_logging(quiet, settings.log_format)
    for hint in variable_hints(os.environ):
        _log.warning("%s", hint)
    return settings


def seconds(text: str) -> float:
    """Read an option that is a duration.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return read_duration(text)
    except ValueError:
        raise click.BadParameter(
            f"expected a duration, such as 500ms, 5s or 1m, got {text!r}"
        ) from None
