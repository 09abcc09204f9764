"""`micro server`: the local nats-server alone."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AbstractAsyncContextManager
from typing import Any

import click

from micro.cli.local import dev_server
from micro.runtime.signals import on_signal
from micro.scope import open_scope

__all__ = ["server"]

_INTERRUPTED = 130


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--port", type=click.IntRange(0, 65_535), default=4222, help="0 for a free one.")
@click.option("--jetstream", is_flag=True, help="Switch JetStream on, in a temporary folder.")
@click.option("--config", metavar="FILE", help="nats-server's own configuration file.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server(port: int, jetstream: bool, config: str | None, arguments: tuple[str, ...]) -> int:
    """Run a nats-server on loopback until Ctrl-C, for development.

    ARGUMENTS go to nats-server as they are. Its address is the first line of the output.
    """
    run_server = dev_server()
    return asyncio.run(
        _serve(run_server(port=port, jetstream=jetstream, config=config, arguments=arguments))
    )


async def _serve(running: AbstractAsyncContextManager[Any]) -> int:
    stopped: asyncio.Queue[signal.Signals] = asyncio.Queue()
    with on_signal(stopped.put_nowait):
        async with running as started, open_scope() as scope:
            click.echo(started.address)
            ended = scope.start(started.ended())
            told = scope.start(stopped.get())
            await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                click.echo(f"micro: nats-server ended by itself with {ended.result()}", err=True)
                return 1
    return _INTERRUPTED if told.result() == signal.SIGINT else 0
