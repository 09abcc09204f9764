"""Each asynchronous test of this folder runs on both event loops."""

from __future__ import annotations

from tests.plugins.micro_nats.loops import LOOPS


def pytest_asyncio_loop_factories(config, item):
    return LOOPS
