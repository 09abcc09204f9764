"""When the dialer gives up."""

from __future__ import annotations

import asyncio

import pytest

from micro.backend import BackendOptions
from micro.errors import ConnectionLost
from micro_nats.connection.connection import open_connection


@pytest.mark.timeout(10)
async def test_a_cancellation_that_an_error_replaces_still_ends_the_attempts(monkeypatch) -> None:
    async def fail_when_cancelled(*args, **options):
        # As asyncio.wait_for on Python 3.11, if both happen in one turn of the event loop.
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionRefusedError from None

    monkeypatch.setattr("micro_nats.connection.reconnect.greet", fail_when_cancelled)

    with pytest.raises(ConnectionLost, match=r"within 0\.1 s"):
        async with open_connection(BackendOptions(connect_timeout=0.1)):
            pytest.fail("it was let in")
