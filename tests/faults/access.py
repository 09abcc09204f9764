"""Servers that let not everybody in, and how those fare who are kept out."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from micro import MicroError
from micro_nats.devserver import NatsServer, run_server
from tests.faults.load import client_of
from tests.faults.process import Program, run_program
from tests.faults.proxy import Proxy

__all__ = ["FAILED", "USAGE", "Options", "Refusal", "guarded", "points", "refused", "reload"]

FAILED = 1
"""The exit code of a start that was refused."""
USAGE = 2
"""The exit code of a setting that cannot be used."""

Options = Mapping[str, str]
"""The NATS plugin's own options."""


@asynccontextmanager
async def guarded(folder: Path, config: str) -> AsyncIterator[NatsServer]:
    """Run a server with a configuration; `reload` changes it."""
    path = folder / "server.conf"
    path.write_text(config)
    async with run_server(config=path) as server:
        yield server


def reload(server: NatsServer, folder: Path, config: str) -> None:
    """Give a server another configuration while it runs."""
    (folder / "server.conf").write_text(config)
    server.signal(signal.SIGHUP)


@asynccontextmanager
async def points(address: str, folder: Path, options: Options) -> AsyncIterator[Program]:
    """Run the service as a process of its own, which logs all that it can."""
    environ = {f"MICRO_NATS_{name.upper()}": value for name, value in options.items()}
    journal = {"POINTS_JOURNAL": str(folder / "journal"), "MICRO_LOG_LEVEL": "debug"}
    flags = ("--transport-address", address, "--server-address", "points.calls")
    async with run_program("points", *flags, environ={**journal, **environ}) as program:
        yield program


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a client and a service fared that were refused at their start.

    Attributes:
        error: What the client was told.
        seconds: How long that took.
        tries: How often it connected.
        code: The service's exit code.
        lifetime: How long its process lived.
        service_tries: How often it connected.
        log: All that it logged.
    """

    error: MicroError
    seconds: float
    tries: int
    code: int
    lifetime: float
    service_tries: int
    log: str

    @property
    def last(self) -> str:
        """The last line of the log."""
        return self.log.splitlines()[-1]

    def __str__(self) -> str:
        return (
            f"{type(self.error).__name__} after {self.seconds:.2f} s, exit code {self.code} after "
            f"{self.lifetime:.2f} s, {self.tries} and {self.service_tries} tries"
        )


async def refused(proxy: Proxy, folder: Path, options: Options, *, login: str = "") -> Refusal:
    """Start a client and then a service, neither of which is let in.

    Args:
        proxy: Before the server.
        folder: For files.
        options: What both have to show.
        login: Credentials for the address.
    """
    address = proxy.address.replace("//", f"//{login}")
    began = time.monotonic()
    with pytest.raises(MicroError) as raised:
        async with client_of(address, plugins={"nats": options}):
            pytest.fail("it was let in")
    seconds, tries = time.monotonic() - began, len(proxy.accepted)
    began = time.monotonic()
    async with points(address, folder, options) as program:
        await program.says("error: ")
        code = await program.gone()
    return Refusal(
        error=raised.value,
        seconds=seconds,
        tries=tries,
        code=code,
        lifetime=time.monotonic() - began,
        service_tries=len(proxy.accepted) - tries,
        log="".join(program.log),
    )
