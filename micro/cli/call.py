"""`micro call` and `micro stream`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import click

from micro.cli.body import headers_from, read_body, read_lines
from micro.cli.group import SettingsCommand, seconds, settings_of
from micro.cli.missing import explain
from micro.cli.output import as_json, as_line, as_value, one_line, show_body
from micro.client import Client
from micro.codec import Raw
from micro.deadline import Deadline
from micro.errors import MicroError
from micro.settings.load import Settings

__all__ = ["call", "stream"]

_ENDPOINT = (
    click.argument("service"),
    click.argument("endpoint"),
    click.argument("body", default="{}"),
    click.option(
        "--timeout",
        type=seconds,
        metavar="DURATION",
        help="For the whole command, such as 2, 500ms or 1m.",
    ),
    click.option(
        "-H", "--header", "pairs", multiple=True, metavar="NAME:VALUE", help="May be repeated."
    ),
    click.option("--json", "as_object", is_flag=True, help="Print JSON, even for plain text."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """The arguments and options of both commands."""

    service: str
    endpoint: str
    body: str
    timeout: float | None
    pairs: Sequence[str]
    as_object: bool


def _endpoint(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments and options that both commands have."""
    for decorate in reversed(_ENDPOINT):
        command = decorate(command)
    return command


@click.command(cls=SettingsCommand)
@_endpoint
@click.pass_context
def call(ctx: click.Context, /, **given: object) -> None:
    """Call ENDPOINT of SERVICE with BODY and print the answer.

    BODY is JSON, {} when not given; - reads it from standard input, @FILE from a file.

    \b
        micro call points Points.Award '{"user": "ann", "points": 5}' --timeout 2
    """
    wanted = _Call(**given)  # type: ignore[arg-type]  # click has converted each by its option
    settings = settings_of(ctx)
    request = read_body(wanted.body, settings.client_content_type)
    answer = asyncio.run(_call(settings, wanted, request))
    if wanted.as_object:
        click.echo(as_json(as_value(answer)))
    else:
        show_body(answer)


@click.command(cls=SettingsCommand)
@_endpoint
@click.pass_context
def stream(ctx: click.Context, /, **given: object) -> None:
    """Open a stream to ENDPOINT of SERVICE and print each item on a line.

    BODY is the one request; - sends every line of standard input as a request of its own, as it
    comes, while answers are printed.
    """
    wanted = _Call(**given)  # type: ignore[arg-type]  # click has converted each by its option
    settings = settings_of(ctx)
    kind = settings.client_content_type
    request = None if wanted.body == "-" else read_body(wanted.body, kind)
    asyncio.run(_stream(settings, wanted, request))


async def _call(settings: Settings, wanted: _Call, request: Raw) -> bytes:
    timeout = settings.client_request_timeout if wanted.timeout is None else wanted.timeout
    async with _client(settings, wanted) as (client, left):
        answer: bytes = await client.call(
            wanted.service,
            wanted.endpoint,
            request,
            Raw,
            timeout=timeout if left is None else left(),
            headers=headers_from(wanted.pairs),
        )
    return answer


async def _stream(settings: Settings, wanted: _Call, request: Raw | None) -> None:
    requests: AsyncIterator[Raw] | Raw = request or read_lines(settings.client_content_type)
    async with (
        _client(settings, wanted) as (client, left),
        client.stream(
            wanted.service,
            wanted.endpoint,
            requests,
            Raw,
            timeout=None if left is None else left(),
            headers=headers_from(wanted.pairs),
        ) as items,
    ):
        async for item in items:
            line = as_line(as_value(item)) if wanted.as_object else one_line(item)
            click.echo(line)


@asynccontextmanager
async def _client(
    settings: Settings, wanted: _Call
) -> AsyncIterator[tuple[Client, Callable[[], float] | None]]:
    """A client, and what is left of `--timeout` once it is connected.

    Raises:
        MicroError: the call failed; a missing service or endpoint is told with those there are.
    """
    from micro.service import open_client

    deadline = None if wanted.timeout is None else Deadline.after(wanted.timeout)
    if wanted.timeout is not None and wanted.timeout < settings.connect_timeout:
        settings = replace(settings, connect_timeout=wanted.timeout)
    async with open_client(settings) as client:
        try:
            yield client, None if deadline is None else deadline.remaining
        except MicroError as error:
            raise await explain(client, wanted.service, wanted.endpoint, error) from error
