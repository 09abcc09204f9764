"""The fixtures that pytest finds in every project that has the distribution installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from micro import Service
from micro.errors import UsageError
from micro.testing import Network
from micro_nats import NatsServer

STRICT = """
import pytest
from micro.testing import Network

@pytest.mark.asyncio
async def test_real(network):
    assert isinstance(network, Network)
"""
UNUSED = """
import sys

def test_nothing_is_imported():
    loaded = {name for name in sys.modules if name.partition(".")[0] in ("micro", "pydantic")}
    assert "micro_pytest" in sys.modules
    assert loaded == set()
"""
OWN = """
import pytest

@pytest.fixture
def network():
    return "the project's own"

def test_own(network):
    assert network == "the project's own"
"""
SKIPPED = """
import pytest

@pytest.fixture(autouse=True)
def absent(monkeypatch):
    from micro.errors import PluginError
    from micro_nats import devserver

    def find_server():
        raise PluginError("none here")

    monkeypatch.setattr(devserver, "find_server", find_server)

def test_server(absent, nats_server):
    raise AssertionError("it was not skipped")

def test_cluster(absent, nats_cluster):
    raise AssertionError("it was not skipped")
"""


def run(folder: Path, **tests: str) -> str:
    """Run pytest in a project of its own; returns what it printed."""
    for name, text in tests.items():
        (folder / f"test_{name}.py").write_text(text)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MICRO_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--strict-markers", "-o", "asyncio_mode=strict"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


async def test_a_network_is_open_in_the_test(network: Network) -> None:
    service = Service("greeter")

    @service.handler
    async def hello(name: str) -> str:
        return f"hello {name}"

    await network.start(service, replicas=2)

    assert await network.client.call("greeter", "Greeter.Hello", "ann", str) == "hello ann"


async def test_the_clock_is_real_without_a_marker(network: Network) -> None:
    with pytest.raises(UsageError, match=r"pytest\.mark\.network\(clock='virtual'\)"):
        await network.advance("1s")


@pytest.mark.network(clock="virtual")
async def test_a_marker_makes_the_clock_virtual(network: Network) -> None:
    began = network.now
    await network.advance("2m")

    assert network.now - began == 120


def test_a_server_of_the_tests_own_keeps_topics(nats_server: NatsServer) -> None:
    with urlopen(f"{nats_server.monitor}/jsz") as answer:
        assert json.load(answer)["config"]["store_dir"]


def test_three_servers_are_one_cluster(nats_cluster: tuple[NatsServer, ...]) -> None:
    with urlopen(f"{nats_cluster[0].monitor}/jsz") as answer:
        cluster = json.load(answer)["meta_cluster"]

    assert cluster["cluster_size"] == 3
    assert cluster["leader"]


def test_a_project_finds_the_fixtures_or_has_its_own(tmp_path) -> None:
    """A test that needs a server which is not installed is skipped, with the fixture's name."""
    printed = run(tmp_path, strict=STRICT, own=OWN, skipped=SKIPPED)

    assert "2 passed, 2 skipped" in printed, printed
    assert "the fixture nats_server needs a nats-server: none here" in printed
    assert "the fixture nats_cluster needs a nats-server: none here" in printed


def test_a_project_that_uses_no_fixture_imports_nothing(tmp_path) -> None:
    printed = run(tmp_path, unused=UNUSED)

    assert "1 passed" in printed, printed
