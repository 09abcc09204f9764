"""`micro run`: services in this process, or in many that are kept running."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import click

from micro.cli.changes import require_watchfiles, watch_changes
from micro.cli.group import SettingsCommand, setting_flags, settings_of
from micro.cli.local import with_server
from micro.cli.supervisor import Pauses, Supervisor
from micro.cli.targets import load_services, source_folder
from micro.cli.worker import SupervisorLink
from micro.errors import ConfigError
from micro.handlers.definition import ServiceDefinition
from micro.runtime.configuration import load_all, settings_over
from micro.runtime.ending import THREADS_SECONDS
from micro.runtime.process import (
    STOP_MARGIN_SECONDS,
    load_plugins,
    run_async,
    run_services,
    run_to_exit,
)
from micro.service import define
from micro.settings.load import PARTS, Settings, load_settings, settings_help
from micro.settings.own import OwnModel
from micro.telemetry.logs import setup_logging

__all__ = ["run"]

# A worker ends itself at the latest after its shutdown timeout and these margins.
KILL_MARGIN_SECONDS = STOP_MARGIN_SECONDS + THREADS_SECONDS + 1.0
IMPORT_SECONDS = 30.0
"""What a new worker gets to import its target, on top of `start_timeout`."""

_GIVEN = "micro.run.arguments"


class _RunCommand(SettingsCommand):
    takes_own_settings = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments: `--help` is answered before they are read."""
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List all settings, and first those of the services that the targets have."""
        models: dict[str, OwnModel] = {}
        for argument in ctx.meta.get(_GIVEN, ()):
            if argument.startswith("-"):
                continue
            # It may be the value of a flag.
            with suppress(ConfigError):
                services = load_services([argument])
                models.update((m.prefix, m) for s in services for m in define(s).own_models)
        formatter.write(f"\nSettings:\n{settings_help(models.values())}\n")


@click.command(cls=_RunCommand)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--workers", type=click.IntRange(1, 1024), default=1, help="Processes for each.")
@click.option("--reload", is_flag=True, help="Start again when a source file changes.")
@click.pass_context
def run(ctx: click.Context, targets: Sequence[str], workers: int, reload: bool) -> int:
    """Run the services of every TARGET until SIGTERM or Ctrl-C.

    A TARGET is a file, a dotted path to a module, or either with :name for one service of several.
    Without options all run in this process. When no address is given for NATS and no server
    listens on 127.0.0.1:4222, one is started for as long as this runs.

    The exit code is 0 after a stop in good order, 1 when something had to be cut off. A second
    signal ends all at once.

    \b
        micro run points.py shop.orders --workers 2
    """
    link = SupervisorLink.from_environment()
    if link is not None:
        return _run_supervised(link, targets)
    settings = settings_of(ctx)
    setup_logging(settings.log_level, settings.log_format)
    flags = setting_flags(ctx)
    if workers > 1 or reload:
        return run_async(_supervise(settings, targets, workers, reload, flags))
    definitions = [define(service) for service in load_services(targets)]
    settings = _shared(definitions, settings, flags)
    load_plugins(definitions, settings)
    return run_async(run_to_exit(_run_here(definitions, settings)))


def _run_supervised(link: SupervisorLink, targets: Sequence[str]) -> int:
    """Run as a worker: the supervisor gives the flags and answers health checks."""
    flags = link.flags()
    settings = load_settings(flags, lenient=True)
    setup_logging(settings.log_level, settings.log_format)
    definitions = [define(service) for service in load_services(targets)]
    shared = _shared(definitions, settings, flags)
    settings = replace(shared, health_address="", metrics_address="")
    load_plugins(definitions, settings)
    own = [settings_over(definition, settings) for definition in definitions]
    link.wait_for_start(exclusive=any(one.server_id or one.server_address for one in own))
    return run_async(run_to_exit(run_services(definitions, settings, observers=[link.observe])))


async def _run_here(definitions: Sequence[ServiceDefinition], settings: Settings) -> int:
    async with with_server(settings):
        return await run_services(definitions, settings)


async def _supervise(
    settings: Settings, targets: Sequence[str], workers: int, reload: bool, flags: Sequence[str]
) -> int:
    """Run each target in processes of its own; this one imports none of them."""
    if workers > 1 and (settings.server_id or settings.server_address):
        raise ConfigError("server_id and server_address are for one process: not with --workers")
    if reload:
        require_watchfiles()
    supervisor = Supervisor(
        [
            (f"{target}#{number}", [sys.executable, "-m", "micro.cli", "run", "--", target])
            for target in targets
            for number in range(1, workers + 1)
        ],
        flags=flags,
        pauses=Pauses(
            grace=settings.shutdown_timeout + KILL_MARGIN_SECONDS,
            ready=settings.start_timeout + IMPORT_SECONDS,
        ),
        changes=watch_changes({source_folder(target) for target in targets}) if reload else None,
        health_address=settings.health_address,
        metrics_address=settings.metrics_address,
    )
    async with with_server(settings):
        return await supervisor.run()


def _shared(
    definitions: Sequence[ServiceDefinition], settings: Settings, flags: Sequence[str]
) -> Settings:
    """The settings for all services of this process, which share their plugins.

    Raises:
        ConfigError: two services choose different plugins or addresses in their code.
    """
    others = [[each for each in definitions if each is not one] for one in definitions]
    chosen = [
        load_all([one, *rest], flags, os.environ)
        for one, rest in zip(definitions, others, strict=True)
    ]
    if (
        len({repr([(one.plugin(part), one.addresses(part)) for part in PARTS]) for one in chosen})
        > 1
    ):
        names = " and ".join(definition.name for definition in definitions)
        raise ConfigError(f"{names} choose different plugins in their code: run each by itself")
    first = chosen[0]
    return replace(
        settings,
        transport=first.transport,
        transport_address=first.transport_address,
        broker=first.broker,
        broker_address=first.broker_address,
        registry=first.registry,
        registry_address=first.registry_address,
        plugins=first.plugins,
        own=first.own,
        health_address=next((one.health_address for one in chosen if one.health_address), ""),
        metrics_address=next((one.metrics_address for one in chosen if one.metrics_address), ""),
    )
