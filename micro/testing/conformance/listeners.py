"""What every listener must do."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio

import pytest

from micro.backend import Backend
from micro.errors import Conflict, InvalidName, NoResponders, SocketClosed, TransportError
from micro.message import Message
from micro.testing.conformance.pairs import (
    dial,
    paired,
    refusal,
    transport_of,
)
from micro.testing.recorder import Arrivals, Recorder

__all__ = ["ListenerConformance"]


class ListenerConformance:
    """Listeners and addresses; a part of `TransportConformance`."""

    async def test_an_address_without_a_listener_is_reported(self, other: Backend) -> None:
        transport = transport_of(other)
        end = Recorder()
        try:
            socket = await transport.dial("no.listener.here", end)
        except TransportError:
            return  # a transport that can tell at once may
        number = socket.send(Message({}, b"anyone?"))
        error = await end.wait_closed()

        assert isinstance(error, NoResponders)
        assert error.refused
        assert error.bundle in (None, number)
        with pytest.raises(SocketClosed):
            socket.send(Message({}, b""))

    @pytest.mark.parametrize("address", ["", "a b", "a.*", "a.>", "a..b", "a\r\nPUB b 0"])
    async def test_an_address_that_cannot_be_dialled_is_refused(
        self, other: Backend, address: str
    ) -> None:
        with pytest.raises(TransportError) as caught:
            await transport_of(other).dial(address, Recorder())
        assert caught.value.refused

    async def test_addresses_are_unique(self, backend: Backend, other: Backend) -> None:
        listeners = [await transport_of(b).listen(Arrivals()) for b in (backend, other) * 10]
        addresses = {listener.address for listener in listeners}
        for listener in listeners:
            await listener.aclose()

        assert len(addresses) == 20

    async def test_a_chosen_address_is_used_and_freed(
        self, backend: Backend, other: Backend
    ) -> None:
        transport = transport_of(backend)
        for _ in range(2):
            arrivals = Arrivals()
            async with await transport.listen(arrivals, address="a.chosen.address") as listener:
                assert listener.address == "a.chosen.address"
                async with await dial(other, listener, Recorder()) as socket:
                    socket.send(Message({}, b""))
                    await arrivals.wait_for(1)

    async def test_an_address_is_not_given_twice(self, backend: Backend) -> None:
        transport = transport_of(backend)
        async with await transport.listen(Arrivals(), address="taken") as listener:
            assert listener.address == "taken"
            with pytest.raises(Conflict):
                await transport.listen(Arrivals(), address="taken")

    @pytest.mark.parametrize(
        "address", [" ", "a b", "a..b", ".a", "a.", "a.*", ">", "a\r\nb", "a\x00b", "x" * 300]
    )
    async def test_an_unusable_listen_address_is_refused(
        self, backend: Backend, address: str
    ) -> None:
        with pytest.raises(InvalidName):
            await transport_of(backend).listen(Arrivals(), address=address)

    async def test_draining_hands_over_all_that_was_accepted(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            for number in range(500):
                pair.near.send(Message({}, b"%d" % number))
            await asyncio.sleep(0)  # the turn ends: they have left
            await other.check()  # and the network has them
            await pair.listener.drain()

            assert pair.far_end.bodies[1:] == [b"%d" % number for number in range(500)]

    async def test_open_sockets_can_answer_after_draining(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            await pair.listener.drain()
            pair.far.send(Message({}, b"answer"))
            await pair.near_end.wait_for(1)

            assert pair.near_end.bodies == [b"answer"]

    async def test_a_drained_listener_takes_no_new_socket(
        self, backend: Backend, other: Backend
    ) -> None:
        arrivals = Arrivals()
        async with await transport_of(backend).listen(arrivals) as listener:
            await listener.drain()
            error = await refusal(other, listener)

        assert isinstance(error, TransportError)
        assert error.refused
        assert arrivals.sockets == []

    async def test_closing_a_listener_closes_its_sockets(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            pair.far.send(Message({}, b"last"))
            await pair.listener.aclose()
            await pair.listener.aclose()

            assert isinstance(await pair.far_end.wait_closed(), SocketClosed)
            assert isinstance(await pair.near_end.wait_closed(), SocketClosed)
            assert pair.near_end.bodies == [b"last"]
            assert (await refusal(other, pair.listener)).refused
