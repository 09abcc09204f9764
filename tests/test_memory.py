from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from micro.backend import BackendOptions, ConnectionEvent, ConnectionState
from micro.errors import ConfigError, ConnectionLost, PayloadTooLarge
from micro.memory import MemoryBackend, open_memory
from micro.message import Message
from micro.testing import Recorder


async def test_it_opens_and_closes_and_says_so() -> None:
    events: list[ConnectionEvent] = []
    async with open_memory(BackendOptions(on_event=events.append)) as backend:
        await backend.check()

    assert [event.state for event in events] == [ConnectionState.CONNECTED, ConnectionState.CLOSED]
    with pytest.raises(ConnectionLost):
        await backend.check()


async def test_closing_it_closes_every_part() -> None:
    async with open_memory(BackendOptions()) as backend:
        end = Recorder()
        socket = await backend.transport.dial("a", end)

    assert isinstance(await end.wait_closed(), ConnectionLost)
    with pytest.raises(ConnectionLost):
        socket.send(Message({}, b""))
    with pytest.raises(ConnectionLost):
        await backend.broker.flush()
    with pytest.raises(ConnectionLost):
        await backend.registry.list_services()


async def test_the_limits_are_driver_options() -> None:
    driver = {"max_payload": "10", "max_pending": 5, "max_pending_bytes": 20}  # flags are text
    async with open_memory(BackendOptions(driver=driver)) as backend:
        socket = await backend.transport.dial("a", Recorder())
        with pytest.raises(PayloadTooLarge):
            socket.send(Message({}, b"x" * 11))
        with pytest.raises(PayloadTooLarge):
            await backend.broker.publish("a", Message({"A": "b" * 10}, b""))


@pytest.mark.parametrize(
    "driver", [{"max_paylod": 1}, {"max_payload": 0}, {"max_pending": "many"}, {"max_pending": 1.5}]
)
async def test_an_option_that_cannot_be_used_is_refused(driver: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(driver))):
        async with open_memory(BackendOptions(driver=driver)):
            pass


def test_it_can_be_made_before_a_loop_runs() -> None:
    backend = MemoryBackend()

    assert backend.transport is not None
    assert backend.broker is not None
    assert backend.registry is not None


def test_it_is_installed_as_a_plugin() -> None:
    [entry] = entry_points(group="micro.plugins", name="memory")

    assert entry.load() is open_memory
