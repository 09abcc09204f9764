"""The permissions that `micro nats-perms` prints are enough for the shop, and no more than that."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from micro import open_client
from micro.settings import Settings
from micro_nats.commands import _prefixes
from micro_nats.devserver import run_server
from micro_nats.permissions import (
    RULES,
    Access,
    Capability,
    Grant,
    Needs,
    Rule,
    as_config,
    grants_for,
)

ROOT = Path(__file__).parents[3]
SHOP = {
    "points": (),
    "orders": ("--calls", "points", "--publishes", "orders.created"),
    "notifications": (),
}
DRIVER = as_config(grants_for(Needs(capabilities=frozenset({Capability.CALL}))))


async def output_of(*argv):
    """What a Python program prints; it must end well."""
    process = await start(*argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def start(*argv, environ=(), **pipes):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, *argv, cwd=ROOT, env={**environment, **dict(environ)}, **pipes
    )


@asynccontextmanager
async def shop(address, ledger):
    """The shop's services in processes of their own, each with a user of its name."""
    flags = ("--transport-address", address)
    running, logs, ready = [], [], [asyncio.Event() for _ in SHOP]
    async with asyncio.TaskGroup() as readers, AsyncExitStack() as stack:
        for name, event in zip(SHOP, ready, strict=True):
            environ = {
                "MICRO_NATS_USER": name,
                "MICRO_NATS_PASSWORD": "pw",
                "SHOP_LEDGER": str(ledger),
            }
            pipe = asyncio.subprocess.PIPE
            module = ("-m", f"examples.shop_with_go.{name}", *flags)
            running.append(await start(*module, environ=environ.items(), stderr=pipe))
            stack.callback(running[-1].terminate)
            readers.create_task(read_log(running[-1], logs, event))
        async with asyncio.timeout(60):
            await asyncio.gather(*(event.wait() for event in ready))
        yield logs
    assert [await one.wait() for one in running] == [0, 0, 0], "".join(logs)


async def read_log(process, logs, ready):
    async for line in process.stderr:
        logs.append(line.decode())
        if b"ready: " in line:
            ready.set()
    ready.set()


async def printed_permissions(ledger):
    """What the command prints for each service of a shop that may do everything."""
    async with run_server() as server, shop(server.address, ledger):
        flags = ("--transport-address", server.address)
        command = ("-m", "micro.cli", "nats-perms")
        texts = (output_of(*command, name, *more, *flags) for name, more in SHOP.items())
        return dict(zip(SHOP, await asyncio.gather(*texts), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_shop_runs_under_exactly_the_permissions_that_are_printed(tmp_path) -> None:
    """Slow: ten processes are started, three to be described and seven to do so and to run."""
    permissions = await printed_permissions(tmp_path / "one.sqlite")
    permissions["driver"] = DRIVER
    users = [
        f'{{\n user: "{name}"\n password: "pw"\n {text}\n}}' for name, text in permissions.items()
    ]
    config = tmp_path / "server.conf"
    config.write_text("authorization {{\nusers: [\n{}\n]\n}}".format(",\n".join(users)))

    async with (
        run_server(config=config) as server,
        shop(server.address, tmp_path / "two.sqlite") as logs,
    ):
        login = ("--nats-user", "driver", "--nats-password", "pw")
        driver = (
            "-m",
            "examples.shop_with_go.driver",
            "--transport-address",
            server.address,
            *login,
        )
        summary = await output_of(*driver)

    assert "FAIL" not in summary
    assert [line for line in logs if "denied" in line or "ermission" in line] == []


@pytest.mark.parametrize(
    "rule", [r for r in RULES if r.subjects[0].startswith("micro")], ids=lambda r: r.reason
)
def test_each_registry_rule_is_of_both_generations(rule) -> None:
    assert len(rule.subjects) == 2


def test_a_grant_names_each_subject_once_with_all_reasons() -> None:
    needs = Needs(
        capabilities=frozenset(Capability), sent=("a", "b"), received=("a",), inbox=("_INBOX_me",)
    )

    grants = grants_for(needs)

    assert len({(one.access, one.subject) for one in grants}) == len(grants)
    (inbox,) = [one for one in grants if one.subject == "_INBOX_me.>"]
    assert "; " in inbox.reason
    assert {one.subject for one in grants if one.access is Access.PUBLISH} >= {"a", "b", "_INBOX.>"}


def test_another_rule_extends_the_table() -> None:
    rule = Rule(
        capability=Capability.SERVE, access=Access.PUBLISH, subjects=("$SRV.>",), reason="x"
    )

    grants = grants_for(Needs(capabilities=frozenset({Capability.SERVE})), [rule])

    assert grants == (Grant(access=Access.PUBLISH, subject="$SRV.>", reason="x"),)


async def test_a_fixed_address_is_in_the_list(tmp_path) -> None:
    service = tmp_path / "fixed.py"
    service.write_text("from micro import Service\nservice = Service('fixed')\nservice.run()\n")
    async with run_server() as server:
        flags = ("--transport-address", server.address)
        process = await start(service, *flags, "--server-address", "fixed.calls")
        async with (
            open_client(Settings(transport_address=(server.address,))) as client,
            asyncio.timeout(20),
            client.registry.watch("fixed") as changes,
        ):
            async for records in changes:
                if records:
                    break
        out = await output_of("-m", "micro.cli", "nats-perms", "fixed", "--json", *flags)
        process.terminate()
        assert await process.wait() == 0

    assert out.count('"fixed.calls"') == 2


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        ({}, ("_INBOX", ("_INBOX",))),
        ({"inbox_prefix": "_INBOX.orders"}, ("_INBOX.orders", ("_INBOX",))),
        ({"inbox_prefix": "_a", "reply_prefixes": "b, c"}, ("_a", ("_INBOX", "_a", "b", "c"))),
    ],
)
def test_prefixes_of_inboxes_are_those_of_the_options(driver, expected) -> None:
    assert _prefixes(Settings(plugins={"nats": driver})) == expected
