from __future__ import annotations

from micro.backend import Backend
from micro.message import Message
from micro.testing import Recorder
from micro.transport.contract import Listener
from micro_nats.transport.inbound import MIN_BATCH


class Waiting(Recorder):
    """Says how many messages it waits for."""

    def __init__(self, awaited: int) -> None:
        super().__init__()
        self._awaited = awaited

    @property
    def awaited(self) -> int:
        return self._awaited


async def test_a_receiver_gets_at_most_half_of_what_it_waits_for_in_one_turn(
    other: Backend, echo: Listener
) -> None:
    end = Waiting(awaited=4 * MIN_BATCH)
    socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
    for number in range(4 * MIN_BATCH):
        socket.send(Message({}, b"%d" % number))
    await end.wait_for(4 * MIN_BATCH)

    assert end.bodies == [b"%d" % number for number in range(4 * MIN_BATCH)]
    assert end.bundles == [2 * MIN_BATCH, 2 * MIN_BATCH]


async def test_a_receiver_that_waits_for_few_gets_all_in_one_turn(
    other: Backend, echo: Listener
) -> None:
    end = Waiting(awaited=MIN_BATCH)
    socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
    for number in range(MIN_BATCH):
        socket.send(Message({}, b"%d" % number))
    await end.wait_for(MIN_BATCH)

    assert end.bundles == [MIN_BATCH]
