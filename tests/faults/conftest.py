"""Servers for the fault tests, and the collection of their verdicts."""

from __future__ import annotations

import fcntl
import gc
import os
import platform
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

from micro_nats.devserver import NatsServer, find_server, run_server
from tests.faults.verdicts import Verdict, renew_rows, write_table

_VERDICTS = pytest.StashKey[list[Verdict]]()
CASES = int(os.environ.get("HYPOTHESIS_CASES", "0"))

settings.register_profile("faults", max_examples=CASES or 100, deadline=None, database=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-reliability-table",
        action="store_true",
        help="write what was measured into docs/reliability.md",
    )
    parser.addoption(
        "--renew-reliability-rows",
        action="store_true",
        help="the same, for the tests that ran; the rows of others stay",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_VERDICTS] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # They wait for each other, which does not count as their own time.
    for item in items:
        if "/faults/" in item.path.as_posix():
            marker = item.get_closest_marker("timeout")
            seconds = marker.args[0] if marker else 60
            item.add_marker(pytest.mark.timeout(seconds, func_only=True), append=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    report = (yield).get_result()
    for verdict in getattr(item, "verdicts", []):
        if report.when == "call":
            verdict.holds = report.passed
        elif report.failed:
            verdict.holds = False


def pytest_sessionfinish(session: pytest.Session) -> None:
    verdicts = session.config.stash.get(_VERDICTS, [])
    if verdicts and session.config.getoption("--write-reliability-table", default=False):
        write_table(verdicts, _about())
    elif verdicts and session.config.getoption("--renew-reliability-rows", default=False):
        renew_rows(verdicts, _about())


def _about() -> str:
    version = subprocess.run([find_server(), "--version"], capture_output=True, text=True)
    server = version.stdout.strip().replace(": v", " ")
    return (
        f"Run of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: Python {platform.python_version()}, "
        f"{server}, {platform.system()}, {os.cpu_count()} processors."
    )


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """They measure time: one of them at a time, however many workers there are.

    What earlier tests have left in memory is kept from the cycle collector: with it, a collection
    takes more than 0.1 s, in which no call of this process is answered.
    """
    with Path(tempfile.gettempdir(), "micro-faults.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Callable[[str, str], Verdict]:
    """Open a row of the table: `verdict(fault, criterion)`; set its `measured`, then assert."""

    def begin(fault: str, criterion: str) -> Verdict:
        row = Verdict(fault, criterion, request.node.name)
        request.config.stash.setdefault(_VERDICTS, []).append(row)
        if not hasattr(request.node, "verdicts"):
            request.node.verdicts = []
        request.node.verdicts.append(row)
        return row

    return begin


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    """A server of the test's own, for it to harm."""
    async with run_server(monitoring=True) as server:
        yield server
