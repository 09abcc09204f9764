"""A peer decides how often a fault happens, but not how fast a log grows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from micro.backend import BackendOptions, ConnectionState
from micro_nats.connection.connection import Connection, open_connection
from micro_nats.counters import Counters
from micro_nats.devserver import run_server
from tests.plugins.micro_nats.helpers import Events, Watch

FLOOD = 5_000
CONFIG = """
authorization { users: [ { user: ann, password: p, permissions: { publish: "open.>" } } ] }
"""


async def test_denied_publications_are_told_once_a_second_with_a_count(tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    path.write_text(CONFIG)
    events, denied = Events(), []
    async with run_server(config=path) as server:
        address = server.address.replace("//", "//ann:p@")
        options = BackendOptions(addresses=(address,), on_event=events)
        async with open_connection(options) as connection:
            connection.observe(Watch(denied=denied.append))
            for _ in range(FLOOD):
                connection.publish_now("closed.door", "", b"")
            await connection.flush()
            for _ in range(FLOOD):
                connection.publish_now("closed.door", "", b"")
            await connection.flush()
        await events.wait_for(ConnectionState.CLOSED)

    told = [event for event in events.events if event.state is ConnectionState.DENIED]
    assert len(denied) == 2 * FLOOD
    assert len(told) <= 5
    assert sum(_counted(event.detail) for event in told) == 2 * FLOOD


def _counted(detail: str) -> int:
    _, _, more = detail.partition(" (and ")
    return 1 + int(more.split()[0]) if more else 1


async def test_a_callback_that_fails_on_each_message_logs_one_line_a_second(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*message: object) -> None:
        raise RuntimeError("no")

    await connection.subscribe("failing", fail)
    with caplog.at_level(logging.DEBUG, "micro.nats"):
        for _ in range(FLOOD):
            connection.publish_now("failing", "", b"")
        await connection.flush()

    assert 1 <= len(caplog.records) <= 5


@pytest.mark.parametrize("what", ["malformed", "without_reply", "refused_socket"])
def test_messages_that_are_dropped_log_one_line_a_second(
    caplog: pytest.LogCaptureFixture, what: str
) -> None:
    counters = Counters()
    arguments = {"malformed": ("a", ValueError("b")), "without_reply": ("a", "b")}.get(what, ("a",))
    with caplog.at_level(logging.DEBUG, "micro.nats"):
        for _ in range(FLOOD):
            getattr(counters, f"count_{what}")(*arguments)

    assert 1 <= len(caplog.records) <= 5
    assert FLOOD in counters.as_metrics().values()


def test_a_line_says_how_many_were_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 100.5, 100.9, 101.1])
    monkeypatch.setattr("micro_nats.counters.time.monotonic", lambda: next(clock))
    counters = Counters()
    for _ in range(4):
        counters.count_malformed("subject", ValueError("bad"))

    assert [record.getMessage() for record in caplog.records] == [
        "dropped a message on 'subject': bad",
        "dropped a message on 'subject': bad (and 2 more before)",
    ]
