"""Frames and payloads from a peer that means harm, while others go on calling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import strategies as st

from micro import Client, MicroError, Service
from micro.client.channel import Channel
from micro.client.pending import expire_reply
from micro.concurrency.timers import Timers
from micro.deadline import Deadline
from micro.message import Message
from micro.testing import Arrivals, Recorder
from micro.transport.memory import MemoryTransport
from micro.wire.headers import error_from
from micro_nats.registry.subjects import QUERY_TOPICS, WATCH_TOPICS
from tests.engine import ANN, Award, Balance, raw, running
from tests.faults.fuzzing import EACH, MESSAGES, Property, count_cases
from tests.faults.load import run_load
from tests.faults.openings import points_and_client
from tests.faults.process import run_program

pytestmark = pytest.mark.timeout(280)


class Errors(logging.Handler):
    """What was logged as an error: nothing that a peer sends is one of this side's."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    @contextmanager
    def listening(self) -> Iterator[None]:
        loggers = [logging.getLogger(name) for name in ("micro", "asyncio")]
        for logger in loggers:
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)


def golden() -> Service:
    service = Service("golden")

    @service.handler
    async def award(request: Award) -> Balance:
        return Balance(user=request.user, points=request.points)

    @service.handler
    async def tell(request: Award) -> AsyncIterator[Balance]:
        for _ in range(3):
            yield Balance(user=request.user, points=request.points)

    @service.handler
    async def told(requests: AsyncIterator[Award]) -> Balance:
        users = [request.user async for request in requests]
        return Balance(user=str(users), points=len(users))

    return service


async def hear(client: Client, frames: list[Message]) -> None:
    """Send frames to a service, which must answer a good call just as before."""
    async with raw(client, "golden") as peer:
        for frame in frames:
            peer.socket.send(frame)
        answer = await client.call("golden", "Golden.Award", ANN, Balance, timeout=20)
        assert answer.points == 5
        for message in peer.recorder.messages:
            assert isinstance(error_from(message.headers), MicroError | None)


async def ask(network: MemoryTransport, case: tuple[bool, list[Message]]) -> None:
    """Make a call and a stream to a peer that answers with such frames."""
    native, frames = case
    good = [
        {"Micro-Id": "1", "Content-Type": "text/plain"},
        {"Micro-Id": "2", "Micro-Error": "EOS"},
    ]

    class Liar(Recorder):
        def received(self, messages: Sequence[Message]) -> None:
            for frame in [*frames, *(Message(headers, b"") for headers in good)]:
                with suppress(MicroError):
                    arrivals.sockets[0].send(frame)

    arrivals = Arrivals(lambda _: Liar())
    timers = Timers(expire_reply)
    metadata = {"native": "1"} if native else {}
    async with await network.listen(arrivals) as listener:
        peer = Channel(timers=timers, metadata=metadata, on_closed=lambda _: None)
        peer.attach(await network.dial(listener.address, peer))
        with suppress(MicroError):
            reply = await peer.call({"Micro-Endpoint": "A.B"}, b"", Deadline.after(20))
            assert isinstance(error_from(reply.headers), MicroError | None)
        with suppress(MicroError):
            stream = await peer.open_stream({"Micro-Endpoint": "A.B"}, b"", None)
            async with asyncio.timeout(20):
                while await stream.window.receive() is not None:
                    continue
        assert not len(peer)
        peer.socket.close()
    timers.close()


async def test_no_frame_harms_a_service_or_its_callers(verdict) -> None:
    row = verdict(
        "Random frames from a client to a service, and from a service to a client",
        "the next good call succeeds; typed errors only; no error logged; nothing left",
    )
    loop, errors, network = asyncio.get_running_loop(), Errors(), MemoryTransport()

    def fuzz(cases: st.SearchStrategy[Any], run: Callable[[Any], Coroutine[Any, Any, None]]) -> int:
        def check(case: Any) -> None:
            errors.texts.clear()
            asyncio.run_coroutine_threadsafe(run(case), loop).result()
            assert not errors.texts

        return count_cases(Property(cases, check))

    with errors.listening():
        async with running(golden()) as client:
            frames = st.lists(MESSAGES, max_size=6)
            heard = await asyncio.to_thread(fuzz, frames, lambda case: hear(client, case))
            answers = st.tuples(st.booleans(), frames)
            asked = await asyncio.to_thread(fuzz, answers, lambda case: ask(network, case))
        network.close()

    row.measured = f"{heard} generated cases heard and {asked} answered, all calls as before"
    assert heard >= 0.9 * EACH
    assert asked >= 0.9 * EACH


async def test_a_service_under_hostile_payloads_goes_on_serving(server, tmp_path, verdict) -> None:
    row = verdict(
        "6,000 hostile payloads to a service's node, its topics and the registry's, under calls",
        "every good call succeeds; no traceback in the process's log; it is still there",
    )
    async with points_and_client(server, tmp_path, 1) as (fleet, client):
        (record,) = await client.registry.get_service("points")
        subjects = [record.nodes[0].address] * 3 + ["points.happened", *QUERY_TOPICS, *WATCH_TOPICS]
        async with run_load(client, rate=100, kinds=("read", "award")) as load:
            async with run_program("hostile", server.address, "6000", *subjects) as hostile:
                code = await hostile.gone()
            await client.call("points", "Points.Read", {"number": 0})
        program = fleet["n1"]
        alive, dropped = program.alive, program.said("dropped a message")
        tracebacks = program.said("Traceback")

    row.measured = f"{len(load.failed)} of {len(load.calls)} calls failed, {tracebacks} tracebacks"
    assert code == 0, hostile.log
    assert not load.failed, load.errors
    assert alive
    assert dropped
    assert not tracebacks, program.log
