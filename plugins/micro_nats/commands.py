"""Commands that the NATS plugin adds to the `micro` tool."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import click

from micro import Client, Settings, open_client
from micro.backend import BackendOptions
from micro.cli.extension import SettingsCommand, as_json, missing_service, settings_of
from micro.errors import ConfigError
from micro.names import check_pattern, check_topic
from micro.registry import ServiceRecord
from micro_nats.connection.options import read_options
from micro_nats.permissions import Capability, Needs, as_config, grants_for

__all__ = ["nats_perms"]

_OWN_TOPICS = ("dead", "micro.outcomes")


@click.command("nats-perms", cls=SettingsCommand)
@click.argument("service")
@click.option("--calls", multiple=True, metavar="SERVICE", help="A service that it calls.")
@click.option("--publishes", multiple=True, metavar="TOPIC", help="A topic that it publishes.")
@click.option("--subscribes", multiple=True, metavar="TOPIC", help="A topic beside its own.")
@click.option("--stores", multiple=True, metavar="TOPIC", help="A kept topic that it publishes.")
@click.option("--durable", multiple=True, metavar="TOPIC", help="A kept topic that it reads.")
@click.option("--json", "as_object", is_flag=True, help="Print JSON.")
@click.pass_context
def nats_perms(
    ctx: click.Context,
    /,
    service: str,
    calls: Sequence[str],
    as_object: bool,
    **topics: Sequence[str],
) -> None:
    """Print the least permissions that SERVICE needs, for the configuration of a nats-server.

    SERVICE runs now, on a server that allows all: its topics and addresses are taken from the
    registry. What it calls and publishes is not known there: say so with --calls and --publishes,
    and with --stores and --durable for topics that are kept.
    Inbox prefixes are those of the options inbox_prefix and reply_prefixes of the plugin.

    \b
        micro nats-perms orders --calls points --publishes orders.created
    """
    settings = settings_of(ctx)
    check = {"publishes": check_topic, "subscribes": check_pattern}
    checked = {
        name: tuple(map(check.get(name, check_topic), given)) for name, given in topics.items()
    }
    needs = asyncio.run(_needs(settings, service, calls, checked))
    grants = grants_for(needs)
    if as_object:
        fields = [
            {"access": one.access.value, "subject": one.subject, "reason": one.reason}
            for one in grants
        ]
        click.echo(as_json(fields))
    else:
        click.echo(f"# The least permissions for {service}.\n{as_config(grants)}")


async def _needs(
    settings: Settings,
    service: str,
    calls: Sequence[str],
    topics: Mapping[str, tuple[str, ...]],
) -> Needs:
    inbox, peers = _prefixes(settings)
    async with open_client(settings) as client:
        records = await _records(client, service)
        callees = [one for name in calls for one in await _records(client, name)]
    sent, stored, durable = topics["publishes"], topics["stores"], topics["durable"]
    received = topics["subscribes"] + tuple(
        topic for record in records for one in record.endpoints if (topic := _topic(one.metadata))
    )
    if durable:
        # Topics of the framework's own: what failed and why, and events that no one could handle.
        stored, durable = (*stored, *durable, *_OWN_TOPICS), (*durable, *_OWN_TOPICS)
    used = {Capability.SERVE}
    used |= {Capability.CALL} if calls else set()
    used |= {Capability.PUBLISH} if sent else set()
    used |= {Capability.SUBSCRIBE} if received else set()
    used |= {Capability.STORE} if stored else set()
    used |= {Capability.READ} if durable else set()
    driver = read_options(BackendOptions(driver=settings.plugins["nats"]))
    return Needs(
        capabilities=frozenset(used),
        inbox=(inbox,),
        peer=peers,
        address=_addresses(records, peers),
        callee=_addresses(callees, peers),
        sent=sent,
        received=received,
        service=(service,),
        stored=tuple(dict.fromkeys(stored)),
        durable=durable,
        namespace=driver.namespace,
        api=driver.api_prefix,
    )


def _topic(metadata: Mapping[str, str]) -> str:
    return metadata.get("topic", "") if metadata.get("subscriber") == "true" else ""


async def _records(client: Client, name: str) -> tuple[ServiceRecord, ...]:
    if records := await client.registry.get_service(name):
        return records
    raise await missing_service(client.registry, name)


def _addresses(records: Sequence[ServiceRecord], prefixes: Sequence[str]) -> tuple[str, ...]:
    """The addresses of nodes that are not inboxes, which other rules allow."""
    inboxes = tuple(f"{prefix}." for prefix in prefixes)
    addresses = {node.address for record in records for node in record.nodes}
    return tuple(sorted(one for one in addresses if not one.startswith(inboxes)))


def _prefixes(settings: Settings) -> tuple[str, tuple[str, ...]]:
    """The prefix of the service's own inboxes, and those of all inboxes that it publishes to.

    Raises:
        ConfigError: no part uses NATS.
    """
    driver = settings.plugins.get("nats")
    if driver is None:
        raise ConfigError("no part uses the plugin 'nats': there are no permissions to print")
    inbox = str(driver.get("inbox_prefix", "_INBOX"))
    others = driver.get("reply_prefixes", ())
    texts = others.split(",") if isinstance(others, str) else others
    peers = dict.fromkeys(["_INBOX", inbox, *(str(text).strip() for text in texts)])
    # `_INBOX.>` allows `_INBOX.points.>`, too.
    return inbox, tuple(
        one for one in peers if one and not any(one.startswith(f"{each}.") for each in peers)
    )
