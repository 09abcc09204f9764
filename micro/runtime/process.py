"""Running services as a program: settings, signals, exit codes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from micro.concurrency.watchdog import watch_loop
from micro.errors import MicroError, TransportError, UsageError
from micro.plugins import Backends, find_plugin
from micro.runtime.health import serve_health
from micro.runtime.lifecycle import Life, announce
from micro.settings.load import PARTS, Settings
from micro.telemetry.logs import setup_logging
from micro.telemetry.metrics import MetricKind

if TYPE_CHECKING:
    from micro.service import Service

__all__ = [
    "EXIT_CUT_OFF",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "run_async",
    "run_main",
    "run_services",
]

_log = logging.getLogger("micro.service")

EXIT_CUT_OFF = 1
"""Something still ran when the shutdown timeout was over."""
EXIT_USAGE = 2
"""A setting, plugin or handler cannot be used."""
EXIT_UNREACHABLE = 3
"""No server could be reached."""

_SPREAD = 0.1
_LAST_RESORT = 5.0


def run_main(services: Sequence[Service], argv: Sequence[str]) -> None:
    """Run services with the settings of a command line until a signal comes, and exit.

    An error that a user can mend is one line on standard error, without a traceback.
    """
    try:
        settings = services[0].settings(argv, os.environ)
        setup_logging(settings.log_level, settings.log_format)
        for part in PARTS:
            # Importing a plugin takes its time, which the event loop need not stand still for.
            find_plugin(settings.plugin(part))
        code = run_async(run_services(services, settings))
        if code == EXIT_CUT_OFF:
            # A thread that still runs would keep the interpreter from ending.
            logging.shutdown()
            os._exit(code)
    except UsageError as error:
        code = _complain(error, EXIT_USAGE)
    except TransportError as error:
        code = _complain(error, EXIT_UNREACHABLE)
    except MicroError as error:
        code = _complain(error, EXIT_CUT_OFF)
    sys.exit(code)


def run_async(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on a new event loop: uvloop's when it is installed, else asyncio's."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def run_services(services: Sequence[Service], settings: Settings) -> int:
    """Run services until SIGINT or SIGTERM, all over the same open plugins.

    They start in the order given and stop in the reverse. A second signal ends the process at once,
    with code 130; a stop that takes 5 s longer than `shutdown_timeout` ends it with code 1.

    Returns:
        0, or 1 when something had to be cut off.
    """
    names = "+".join(service.name or settings.server_name for service in services)
    lives: list[Life] = []
    with _signals() as stop, watch_loop(settings.stall_threshold) as watchdog:
        async with (
            Backends(
                name=names, settings=settings, on_event=partial(announce, services)
            ) as backends,
            AsyncExitStack() as stack,
        ):
            for service in services:
                if watchdog is not None:
                    counted = service.metrics.observe(watchdog.counters, MetricKind.COUNTER)
                    stack.enter_context(counted)
                chosen = service.over(settings)
                parts = backends
                if service.parts:
                    own = Backends(
                        name=names,
                        settings=chosen,
                        on_event=partial(announce, [service]),
                        given=service.parts,
                    )
                    parts = await stack.enter_async_context(own)
                life = Life(service, chosen, parts, spread=_SPREAD)
                await stack.enter_async_context(life)
                lives.append(life)
            await _open_health(stack, settings, lives)
            _log.info("ready: %s", names)
            await stop.wait()
            _log.info("stopping: %s", names)
            _end_at_last(settings.shutdown_timeout + _LAST_RESORT)
            for life in reversed(lives):
                await life.stop()
    return EXIT_CUT_OFF if any(life.stuck for life in lives) else 0


async def _open_health(stack: AsyncExitStack, settings: Settings, lives: Sequence[Life]) -> None:
    if not settings.health_address:
        return

    async def ready() -> None:
        for life in lives:
            await life.check()

    bound = await stack.enter_async_context(serve_health(settings.health_address, ready))
    _log.info("health checks at http://%s/livez and /readyz", bound)


def _end_at_last(seconds: float) -> None:
    """End the process when a handler that ignores its cancellation would keep it for ever."""

    def end() -> None:
        _log.critical("the stop took too long: the process is ended")
        logging.shutdown()
        os._exit(EXIT_CUT_OFF)

    asyncio.get_running_loop().call_later(seconds, end)


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def arrived() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    caught = (signal.SIGINT, signal.SIGTERM)
    for number in caught:
        loop.add_signal_handler(number, arrived)
    try:
        yield stop
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def _complain(error: MicroError, code: int) -> int:
    sys.stderr.write(f"error: {error.detail}\n")
    return code
