"""Running services as a program: settings, signals, exit codes."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any

from micro.backend import ConnectionEvent, log_event
from micro.concurrency.watchdog import watch_loop
from micro.errors import MicroError, TransportError, UsageError
from micro.handlers.definition import PartObject, ServiceDefinition
from micro.plugins import Backends, find_plugin
from micro.runtime.configuration import load_all
from micro.runtime.ending import (
    EXIT_CUT_OFF,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    end_process_soon,
    last_resort,
)
from micro.runtime.health import serve_health
from micro.runtime.lifecycle import ServiceRunner
from micro.runtime.measuring import samples_of, serve_metrics
from micro.runtime.signals import stop_signals
from micro.settings.load import PARTS, Settings, find_log_format, settings_help, variable_hints
from micro.telemetry.logs import setup_logging
from micro.telemetry.metrics import MetricKind, Sample
from micro.telemetry.printable import printable

__all__ = [
    "EXIT_CUT_OFF",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "Observer",
    "Program",
    "load_plugins",
    "open_backends",
    "report_failure",
    "run_async",
    "run_main",
    "run_services",
    "run_to_exit",
]

_log = logging.getLogger("micro.service")

SPREAD_SECONDS = 0.1
"""How long a node serves after it has left the registry, so that callers learn of it first."""
STOP_MARGIN_SECONDS = 5.0
"""What a stop may take beyond `shutdown_timeout` before the process is ended."""


class Program:
    """The services of this process, as what watches it sees them."""

    def __init__(self, runners: Sequence[ServiceRunner]) -> None:
        self._runners = runners

    async def check(self) -> None:
        """Return if every service is ready.

        Raises:
            Unavailable: one is not.
        """
        for runner in self._runners:
            await runner.check()

    async def samples(self) -> Iterable[Sample]:
        """Everything that its services have counted."""
        return samples_of(self._runners)


Observer = Callable[[Program], AbstractAsyncContextManager[Callable[[], None]]]
"""Watches a program from before its start to after its stop.

It gives a function that is called once all services are ready.
"""


def run_main(definitions: Sequence[ServiceDefinition], argv: Sequence[str]) -> None:
    """Run services with the settings of a command line until a signal comes, and exit.

    A start that fails is one line, without a traceback, in the format of the log. `--help` lists
    the settings instead.
    """
    if any(word in ("-h", "--help") for word in argv):
        own = {one.prefix: one for definition in definitions for one in definition.own_models}
        sys.stdout.write(f"Settings:\n{settings_help(own.values())}\n")
        sys.exit(0)
    try:
        settings = load_all(definitions, argv, os.environ)
        setup_logging(settings.log_level, settings.log_format)
        for hint in variable_hints(os.environ):
            _log.warning("%s", hint)
        load_plugins(definitions, settings)
        code = run_async(run_to_exit(run_services(definitions, settings)))
    except Exception as error:
        # A start hook can raise anything.
        code = report_failure(error, find_log_format(argv, os.environ))
    sys.exit(code)


def load_plugins(definitions: Sequence[ServiceDefinition], settings: Settings) -> None:
    """Import the plugins before there is an event loop that the import would block.

    Raises:
        PluginError: one cannot be loaded.
    """
    for part in PARTS:
        if not all(part in definition.parts for definition in definitions):
            find_plugin(settings.plugin(part))


def run_async(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on a new event loop: uvloop's when it is installed, else asyncio's."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def run_to_exit(work: Coroutine[Any, Any, int]) -> int:
    """Run the last work of a process: once it is done, nothing keeps the process for long."""
    try:
        return await work
    finally:
        end_process_soon()


async def run_services(
    definitions: Sequence[ServiceDefinition],
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
) -> int:
    """Run services until SIGINT or SIGTERM, all over the same open plugins.

    They start in the order given and stop in the reverse. A signal during the start cancels it. A
    second signal, at least 1 s after the first, ends the process with code 130; a stop that takes
    5 s longer than `shutdown_timeout` ends it with code 1.

    Args:
        definitions: What to run.
        settings: How; each service's own arguments are laid over them.
        observers: Watch the program from before its start to after its stop.

    Returns:
        0, or 1 when something had to be cut off.
    """
    runners = [ServiceRunner(each, settings, spread=SPREAD_SECONDS) for each in definitions]
    names = "+".join(runner.name for runner in runners)
    with ExitStack() as ending, watch_loop(settings.stall_threshold) as watchdog:
        if len(runners) == 1:
            ending.enter_context(runners[0].identified())
        if watchdog is not None:
            for each in definitions:
                counted = each.metrics.observe(watchdog.counters, MetricKind.COUNTER)
                ending.enter_context(counted)
        limit = settings.shutdown_timeout + STOP_MARGIN_SECONDS
        bound = last_resort(limit, partial(_current_steps, runners))
        signals = ending.enter_context(stop_signals(partial(ending.enter_context, bound)))
        async with AsyncExitStack() as stack:
            async with signals.cancelling():
                await _start_all(stack, settings, runners, observers)
                _log.info("ready: %s", names)
            number = await signals.wait()
            _log.info("stopping: %s (%s)", names, number.name)
            for runner in reversed(runners):
                await runner.stop()
    return EXIT_CUT_OFF if any(runner.cut_off for runner in runners) else 0


async def _start_all(
    stack: AsyncExitStack,
    settings: Settings,
    runners: Sequence[ServiceRunner],
    observers: Sequence[Observer],
) -> None:
    """Start observers, so that they can say from the first moment what is going on, and services.

    Raises:
        ConfigError: an address cannot be bound.
    """

    program = Program(runners)
    enter = stack.enter_async_context
    if settings.health_address:
        address = await enter(serve_health(settings.health_address, program.check))
        _log.info("health checks at http://%s/livez and /readyz", address)
    if settings.metrics_address:
        address = await enter(serve_metrics(settings.metrics_address, program.samples))
        _log.info("metrics at http://%s/metrics", address)
    notify = [await enter(observer(program)) for observer in observers]
    shared = await stack.enter_async_context(open_backends(runners, settings))
    for runner in runners:
        backends = shared
        if given := runner.definition.parts:
            backends = await stack.enter_async_context(
                open_backends([runner], runner.settings, given=given)
            )
        await stack.enter_async_context(runner.running(backends))
    for ready in notify:
        ready()


def open_backends(
    runners: Sequence[ServiceRunner],
    settings: Settings,
    *,
    given: Mapping[str, PartObject] | None = None,
) -> Backends:
    """The plugins of services that share them; their connection hooks are told of events.

    Args:
        runners: The runs that share the plugins.
        settings: Which plugins, and how.
        given: Parts given as objects.
    """

    def tell(event: ConnectionEvent) -> None:
        log_event(event)
        for runner in runners:
            runner.tell(event)

    names = "+".join(runner.name for runner in runners)
    return Backends(name=names, settings=settings, on_event=tell, given=given)


def _current_steps(runners: Sequence[ServiceRunner]) -> str:
    return ", ".join(f"{runner.name} is at: {runner.steps.current}" for runner in runners)


def report_failure(error: Exception, log_format: str) -> int:
    """Say in one line why a start failed, and return the exit code.

    Args:
        error: What ended the start.
        log_format: As the setting of this name.
    """
    if log_format == "json":
        setup_logging("info", log_format)
        _log.critical("%s", _explain(error), exc_info=error)
    else:
        _log.debug("the start failed", exc_info=error)
        sys.stderr.write(f"error: {printable(_explain(error))}\n")
    if isinstance(error, UsageError):
        return EXIT_USAGE
    return EXIT_UNREACHABLE if isinstance(error, TransportError) else EXIT_CUT_OFF


def _explain(error: Exception) -> str:
    if isinstance(error, MicroError):
        return error.detail
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
