"""The snippets of docs/testing.md run, and type checkers accept them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from micro import MemoryBackend, Service, load_settings
from tests.docs.test_docs import BLOCK, ROOT

POINTS = """
from micro import Service

service = Service("points")
"""
ORDERS = """
from micro import NotFound, Service
from pydantic import BaseModel


class PlaceOrder(BaseModel):
    customer: str
    item: str


class Receipt(BaseModel):
    id: str


service = Service("orders")


@service.handler
async def place(order: PlaceOrder) -> Receipt:
    if order.item == "unicorn":
        raise NotFound(f"no {order.item} is sold")
    return Receipt(id="1")
"""
RUN_OVER_NATS = """

async def test_over_nats() -> None:
    await over_nats(Service("points"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The snippets as files, beside the services that they test."""
    folder = tmp_path_factory.mktemp("testing")
    first, second = BLOCK.findall((ROOT / "docs/testing.md").read_text())
    (folder / "points.py").write_text(POINTS)
    (folder / "orders.py").write_text(ORDERS)
    (folder / "test_orders.py").write_text(first)
    (folder / "test_nats.py").write_text(second + RUN_OVER_NATS)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    return folder


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MICRO_", "PYTEST_"))}
    environ["MYPYPATH"] = f"{ROOT}:{ROOT / 'plugins'}"
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_snippets_pass(folder) -> None:
    done = run(folder, "pytest", "-q", "-p", "no:cacheprovider")

    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_snippets_are_typed(folder) -> None:
    done = run(folder, "mypy", "--strict", "--no-incremental", "test_orders.py", "test_nats.py")

    assert done.returncode == 0, done.stdout


async def test_settings_beside_a_network_do_not_open_nats() -> None:
    settings = load_settings(["--max-queue", "0", "--connect-timeout", "100ms"], {})

    async with Service("orders").running(MemoryBackend(), settings=settings) as client:
        assert [record.name for record in await client.registry.list_services()] == ["orders"]
