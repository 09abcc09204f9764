"""`micro services` and `micro describe`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import click

from micro.cli.group import SettingsCommand, settings_of
from micro.cli.missing import missing_service
from micro.cli.output import as_json, say, table
from micro.cli.targets import load_name
from micro.handlers.contract import Contract, read_contract
from micro.handlers.differences import differences
from micro.registry import EndpointRecord, ServiceRecord, ValueRecord
from micro.settings.load import Settings
from micro.telemetry.printable import printable

__all__ = ["describe", "services"]

_SHOWN_ELSEWHERE = ("description", "required")


@click.command(cls=SettingsCommand)
@click.option("--json", "as_object", is_flag=True, help="Print JSON.")
@click.pass_context
def services(ctx: click.Context, as_object: bool) -> None:
    """List the services that run, with a line for each version."""
    records = asyncio.run(_list(settings_of(ctx)))
    if as_object:
        click.echo(as_json([_service_fields(record) for record in records]))
    elif records:
        click.echo(table(("SERVICE", "VERSION", "NODES", "ENDPOINTS"), map(_summary, records)))
    else:
        say("no services are running here")


@click.command(cls=SettingsCommand)
@click.argument("service")
@click.option("--json", "as_object", is_flag=True, help="Print JSON.")
@click.option(
    "--check",
    "contract",
    metavar="MODULE:NAME",
    help="List how it differs from this contract, and exit with 1 if it does.",
)
@click.pass_context
def describe(ctx: click.Context, service: str, as_object: bool, contract: str | None) -> None:
    """Show the versions, nodes, endpoints and topics of SERVICE.

    A * marks the required fields of a request.
    """
    wanted = None if contract is None else read_contract(load_name(contract))
    records = asyncio.run(_get(settings_of(ctx), service))
    if wanted is not None:
        _check(ctx, wanted, records, as_object=as_object)
    elif as_object:
        click.echo(as_json([_service_fields(record) for record in records]))
    else:
        click.echo("\n\n".join(_page(record) for record in records))


def _check(
    ctx: click.Context, contract: Contract, records: Iterable[ServiceRecord], *, as_object: bool
) -> None:
    found = [
        {"version": record.version, "difference": text}
        for record in records
        for text in differences(contract, record)
    ]
    if as_object:
        click.echo(as_json(found))
    elif not found:
        say(f"it keeps to {contract.cls.__qualname__}")
    else:
        for each in found:
            click.echo(printable(f"{each['version']}: {each['difference']}"))
    if found:
        ctx.exit(1)


async def _list(settings: Settings) -> tuple[ServiceRecord, ...]:
    from micro.service import open_client

    async with open_client(settings) as client:
        return await client.registry.list_services()


async def _get(settings: Settings, name: str) -> tuple[ServiceRecord, ...]:
    from micro.service import open_client

    async with open_client(settings) as client:
        if records := await client.registry.get_service(name):
            return records
        raise await missing_service(client.registry, name)


def _summary(record: ServiceRecord) -> tuple[str, str, str, str]:
    endpoints = [one for one in record.endpoints if not _is_subscriber(one)]
    return record.name, record.version, str(len(record.nodes)), str(len(endpoints))


def _page(record: ServiceRecord) -> str:
    nodes = [(node.id, node.address, _pairs(node.metadata)) for node in record.nodes]
    endpoints = [_row(one) for one in record.endpoints if not _is_subscriber(one)]
    topics = [_topic_row(one) for one in record.endpoints if _is_subscriber(one)]
    parts = [printable(f"{record.name} {record.version} {_pairs(record.metadata)}".rstrip())]
    parts.append(table(("NODE", "ADDRESS", "METADATA"), nodes))
    if endpoints:
        parts.append(table(("ENDPOINT", "REQUEST", "RESPONSE", "METADATA"), endpoints))
    if topics:
        parts.append(table(("TOPIC", "SUBSCRIBER", "EVENT"), topics))
    if about := [(one.name, _about(one)) for one in record.endpoints if _about(one)]:
        parts.append(table(("NAME", "DESCRIPTION"), about))
    return "\n\n".join(parts)


def _is_subscriber(endpoint: EndpointRecord) -> bool:
    return endpoint.metadata.get("subscriber") == "true"


def _row(endpoint: EndpointRecord) -> tuple[str, str, str, str]:
    """An endpoint's row; go-micro's records tell a stream's types in its metadata alone."""
    rest = {key: value for key, value in endpoint.metadata.items() if key not in _SHOWN_ELSEWHERE}
    request = rest.pop("request", "") or _shape(endpoint.request, _required(endpoint))
    response = rest.pop("response", "") or _shape(endpoint.response)
    return endpoint.name, request, response, _pairs(rest)


def _topic_row(endpoint: EndpointRecord) -> tuple[str, str, str]:
    shape = _shape(endpoint.request, _required(endpoint))
    return endpoint.metadata.get("topic", ""), endpoint.name, shape


def _about(endpoint: EndpointRecord) -> str:
    return endpoint.metadata.get("description", "")


def _required(endpoint: EndpointRecord) -> frozenset[str]:
    """The required fields of a request; empty where the record does not tell them."""
    return frozenset(endpoint.metadata.get("required", "").split(",")) - {""}


def _pairs(metadata: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(metadata.items()))


def _shape(value: ValueRecord | None, required: Collection[str] = ()) -> str:
    """A value's shape on one line: `Award{user* string, points int64}`, `*` for required."""
    if value is None:
        return "-"
    fields = ", ".join(
        f"{one.name}{'*' if one.name in required else ''} {_shape(one)}" for one in value.values
    )
    return f"{value.type}{{{fields}}}" if fields else value.type


def _service_fields(record: ServiceRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "version": record.version,
        "metadata": dict(record.metadata),
        "nodes": [
            {"id": node.id, "address": node.address, "metadata": dict(node.metadata)}
            for node in record.nodes
        ],
        "endpoints": [
            {
                "name": one.name,
                "request": _value_fields(one.request),
                "response": _value_fields(one.response),
                "metadata": dict(one.metadata),
            }
            for one in record.endpoints
        ],
    }


def _value_fields(value: ValueRecord | None) -> dict[str, Any] | None:
    if value is None:
        return None
    fields: dict[str, Any] = {"name": value.name, "type": value.type}
    if value.values:
        fields["values"] = [_value_fields(one) for one in value.values]
    return fields
