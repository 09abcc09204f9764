"""`micro health`: whether the servers can be reached, and a service has nodes."""

from __future__ import annotations

import asyncio
import time

import click

from micro.cli.group import SettingsCommand, settings_of
from micro.cli.missing import missing_service
from micro.cli.output import as_json
from micro.errors import DeadlineExceeded
from micro.plugins import Backends
from micro.settings.load import PARTS, Settings

__all__ = ["health"]


@click.command(cls=SettingsCommand)
@click.argument("service", required=False)
@click.option("--json", "as_object", is_flag=True, help="Print JSON.")
@click.pass_context
def health(ctx: click.Context, service: str | None, as_object: bool) -> None:
    """Make a round trip to the servers in use; with SERVICE, also check that it has nodes.

    The exit code is 0 when both succeed, 3 when a server or the service is unavailable, 4 when
    the time ran out: use it as a container's readiness probe.
    """
    settings = settings_of(ctx)
    fields = asyncio.run(_check(settings, service))
    if as_object:
        click.echo(as_json(fields))
    else:
        click.echo(", ".join(f"{name} {value}" for name, value in fields.items()))


async def _check(settings: Settings, service: str | None) -> dict[str, object]:
    fields: dict[str, object] = {part: settings.plugin(part) for part in PARTS}
    try:
        async with (
            asyncio.timeout(settings.connect_timeout + settings.client_request_timeout) as limit,
            Backends(name="micro-health", settings=settings) as backends,
        ):
            await backends.transport()
            await backends.broker()
            registry = await backends.registry()
            start = time.perf_counter()
            await backends.check()
            fields["round_trip_ms"] = round((time.perf_counter() - start) * 1000, 3)
            if service is not None:
                records = await registry.get_service(service)
                fields["nodes"] = sum(len(record.nodes) for record in records)
                if not fields["nodes"]:
                    raise await missing_service(registry, service)
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded("the servers gave no answer in time") from None
    return fields
