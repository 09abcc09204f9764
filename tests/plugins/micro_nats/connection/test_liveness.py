"""What is known of messages that waited on their way."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from micro.backend import Backend, BackendOptions
from micro.message import Message
from micro.testing import Arrivals, Recorder
from micro.transport.contract import Socket
from micro_nats import open_nats
from micro_nats.connection.liveness import Liveness
from micro_nats.devserver import NatsServer
from tests.faults.clock import lasts
from tests.plugins.micro_nats.helpers import until

STOP_SECONDS = 1.5


class Timed(Recorder):
    """Notes the delay of each message."""

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket
        self.delays: list[float] = []

    def received(self, messages) -> None:
        self.delays.extend([self._socket.delay] * len(messages))
        super().received(messages)


async def test_what_waited_in_a_stopped_server_has_its_delay(own_server: NatsServer) -> None:
    options = BackendOptions(addresses=(own_server.address,))
    arrivals = Arrivals(Timed)
    async with (
        open_nats(options) as backend,
        open_nats(options) as other,
        await backend.transport.listen(arrivals) as listener,
    ):
        socket = await other.transport.dial(
            listener.address, Recorder(), metadata=listener.metadata
        )
        socket.send(Message({}, b"before"))
        await arrivals.wait_for(1)
        far = arrivals.recorders[0]
        await far.wait_for(1)
        own_server.signal(signal.SIGSTOP)
        socket.send(Message({}, b"held up"))
        await lasts(STOP_SECONDS)
        own_server.signal(signal.SIGCONT)
        await far.wait_for(2)
        await until(lambda: backend.connection._link.liveness._asked_at is None)
        await lasts(0.6)
        socket.send(Message({}, b"after"))
        await far.wait_for(3)

    before, held_up, after = far.delays
    assert (before, after) == (0.0, 0.0)
    assert STOP_SECONDS - 0.5 < held_up < STOP_SECONDS + 2.0


async def test_what_waited_while_this_process_stood_still_has_its_delay(
    backend: Backend, other: Backend
) -> None:
    arrivals = Arrivals(Timed)
    async with await backend.transport.listen(arrivals) as listener:
        socket = await other.transport.dial(
            listener.address, Recorder(), metadata=listener.metadata
        )
        socket.send(Message({}, b"before"))
        await arrivals.wait_for(1)
        far = arrivals.recorders[0]
        await far.wait_for(1)
        socket.send(Message({}, b"held up"))
        other.transport.flush()
        threading.Event().wait(STOP_SECONDS)  # the event loop stands still
        await far.wait_for(2)

    assert far.delays[0] == 0.0
    assert STOP_SECONDS - 0.6 < far.delays[1] < STOP_SECONDS + 1.5


async def test_an_idle_connection_brings_fresh_messages(backend: Backend, other: Backend) -> None:
    arrivals = Arrivals(Timed)
    async with await backend.transport.listen(arrivals) as listener:
        socket = await other.transport.dial(
            listener.address, Recorder(), metadata=listener.metadata
        )
        for number in range(3):
            socket.send(Message({}, b"x"))
            await arrivals.wait_for(1)
            await arrivals.recorders[0].wait_for(number + 1)
            await lasts(0.7)

    assert arrivals.recorders[0].delays == [0.0] * 3


async def test_a_request_and_its_cancellation_arrive_in_one_turn_after_a_stop(
    backend: Backend, other: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []
    turn = 0

    class Turns(Recorder):
        def received(self, messages) -> None:
            turns.extend([turn] * len(messages))
            super().received(messages)

    def count() -> None:
        nonlocal turn
        turn += 1
        handles[0] = loop.call_soon(count)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(type(backend.connection), "delay", 5.0)
    arrivals = Arrivals(lambda _: Turns())
    async with await backend.transport.listen(arrivals) as listener:
        socket = await other.transport.dial(
            listener.address, Recorder(), metadata=listener.metadata
        )
        handles = [loop.call_soon(count)]
        for number in range(200):
            socket.send(Message({}, b"%d" % number))
        await arrivals.wait_for(1)
        await arrivals.recorders[0].wait_for(200)
        handles[0].cancel()

    assert len(set(turns)) <= 2
    assert arrivals.recorders[0].bodies == [b"%d" % number for number in range(200)]


async def test_too_many_unanswered_pings_end_the_link() -> None:
    pings, failed = [], asyncio.Event()
    liveness = Liveness(
        lambda: pings.append(1), lambda _: failed.set(), interval=0.02, max_outstanding=3
    )
    await failed.wait()
    liveness.close()

    assert len(pings) == 3
