"""What happens to a connection, and who learns of it."""

from __future__ import annotations

import logging

import pytest

from micro import ConnectionEvent, ConnectionState, Service
from micro.backend import log_event
from micro.errors import HandlerError
from micro.settings.load import load_settings


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (ConnectionState.CONNECTED, logging.INFO),
        (ConnectionState.DISCONNECTED, logging.WARNING),
        (ConnectionState.RECONNECTED, logging.INFO),
        (ConnectionState.DENIED, logging.WARNING),
        (ConnectionState.ERROR, logging.WARNING),
    ],
)
def test_what_happens_to_the_connection_is_logged(
    state: ConnectionState, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "micro.connection"):
        log_event(ConnectionEvent(state=state, detail="why"))

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, f"connection {state.value}: why")


async def test_a_services_hooks_learn_of_it_and_one_that_fails_keeps_no_other_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("points")
    seen: list[ConnectionState] = []

    @service.on_connection
    def broken(event: ConnectionEvent) -> None:
        raise ValueError(event.state)

    @service.on_connection
    def note(event: ConnectionEvent) -> None:
        seen.append(event.state)

    flags = [f"--{part}=memory" for part in ("transport", "broker", "registry")]
    async with service.running(settings=load_settings(flags, {})):
        assert seen == [ConnectionState.CONNECTED]

    assert seen == [ConnectionState.CONNECTED, ConnectionState.CLOSED]
    assert sum("broken" in record.getMessage() for record in caplog.records) == 2


def test_a_coroutine_cannot_be_such_a_hook() -> None:
    async def slow(event: ConnectionEvent) -> None: ...

    with pytest.raises(HandlerError, match="slow"):
        Service("points").on_connection(slow)  # type: ignore[type-var]
